//! The experiments: bottlenecks, groups of flows over them, and what is asked of those with several paths.

/// A path: the bottlenecks that data crosses, in order, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// At least one, none twice.
    pub links: Vec<usize>,
    /// Round trip without any queue, in milliseconds.
    pub rtt_ms: u64,
}

/// Flows of one kind. Those with more than one route are one Multipath TCP connection each.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Who they are.
    pub name: &'static str,
    /// How many.
    pub count: usize,
    /// A subflow for each.
    pub routes: Vec<Route>,
    /// From when to when they send, in parts of the run.
    pub active: (f64, f64),
}

impl Group {
    /// Whether they have several paths.
    pub fn is_multipath(&self) -> bool {
        self.routes.len() > 1
    }
}

/// What is asked of the flows with several paths.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What each gets, by what each of group 1 gets beside it: a fair share of bottlenecks that all its paths have.
    Share,
    /// What each gets, by what a single-path flow in its place gets on the better path.
    BestPath,
    /// The three goals of RFC 6356: [`BestPath`](Self::BestPath); on no path more than a flow beside it there (group 1 is on
    /// the first path, group 2 on the second); and the part of its traffic on the less congested path, which is the second.
    Goals,
    /// What group 1 gets, by what it gets where group 0 keeps to its first path; and what group 0 gets, likewise.
    Harm,
    /// How much of the time nearly everything goes over one path, where both are the same.
    Flapping,
    /// How long it takes until the first path is used as before, when group 1 has left it.
    Response,
    /// What all get together, by all that the links can carry if everybody keeps to the first path.
    Efficiency,
}

/// One experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The row's name.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// The rate of each bottleneck, in kbit/s.
    pub links: Vec<u64>,
    /// The connections with several paths first.
    pub groups: Vec<Group>,
    /// What is asked.
    pub question: Question,
    /// Whether controls without coupling are run too, to compare with, besides Reno.
    pub contrasts: bool,
}

impl Scenario {
    /// Single-path flows that take the place of the connections with several paths: over which of their routes. One for all
    /// routes that are the same.
    pub fn controls(&self) -> Vec<usize> {
        let routes = &self.groups[0].routes;
        match self.question {
            Question::Harm | Question::Response | Question::Efficiency | Question::Flapping => vec![0],
            _ => (0..routes.len()).filter(|at| !routes[..*at].contains(&routes[*at])).collect(),
        }
    }
}

/// Those of these names, in the table's order; all for none.
///
/// # Errors
/// The name that no scenario has, and those there are.
pub fn select(names: &[String]) -> Result<Vec<Scenario>, String> {
    let all = all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|scenario| scenario.name != name.as_str())) {
        let known: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
        return Err(format!("unknown row '{unknown}'; known: {}", known.join(", ")));
    }
    let wanted = |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// The round trip where nothing else is said, and what each flow would have of a bottleneck that is shared evenly: windows
/// of about 35 packets, or 17 for one of two subflows.
const RTT_MS: u64 = 100;
const EACH: u64 = 3_000;

fn group<const N: usize>(name: &'static str, count: usize, routes: [(&[usize], u64); N]) -> Group {
    let routes = routes.map(|(links, rtt_ms)| Route { links: links.to_vec(), rtt_ms });
    Group { name, count, routes: routes.into(), active: (0.0, 1.0) }
}

fn plain<const N: usize>(name: &'static str, count: usize, routes: [&[usize]; N]) -> Group {
    group(name, count, routes.map(|links| (links, RTT_MS)))
}

/// All of them, in order.
pub fn all() -> Vec<Scenario> {
    let row = |name, title, links: &[u64], question, groups: Vec<Group>| Scenario {
        name,
        title,
        links: links.to_vec(),
        groups,
        question,
        contrasts: false,
    };
    let shared = |name, title, others: usize| {
        let groups = vec![plain("two subflows", 1, [&[0], &[0]]), plain("single path", others, [&[0]])];
        let links = [EACH * (others as u64 + 1)];
        Scenario { contrasts: true, ..row(name, title, &links, Question::Share, groups) }
    };
    vec![
        shared("shared1", "one bottleneck, with one single-path flow", 1),
        shared("shared5", "one bottleneck, with 5 single-path flows", 5),
        shared("shared20", "one bottleneck, with 20 single-path flows", 20),
        row(
            "goals",
            "two paths, one more congested: the goals of RFC 6356",
            &[EACH * 6, EACH * 6],
            Question::Goals,
            vec![
                plain("two paths", 1, [&[0], &[1]]),
                plain("on the first", 9, [&[0]]),
                plain("on the second", 4, [&[1]]),
            ],
        ),
        row(
            "disjoint",
            "two paths of its own",
            &[EACH * 2, EACH],
            Question::BestPath,
            vec![plain("two paths", 1, [&[0], &[1]])],
        ),
        row(
            "p1",
            "a second path that cannot help (Khalili et al., scenario A)",
            &[EACH * 5, EACH * 5],
            Question::Harm,
            vec![plain("two paths", 5, [&[0], &[1, 0]]), plain("on the second", 5, [&[1]])],
        ),
        row(
            "p2",
            "a second path that others need (Khalili et al., scenario C)",
            &[EACH * 5, EACH * 5],
            Question::Harm,
            vec![plain("two paths", 5, [&[0], &[1]]), plain("on the second", 5, [&[1]])],
        ),
        row(
            "flapping",
            "two paths that are the same",
            &[EACH * 4, EACH * 4],
            Question::Flapping,
            vec![
                plain("two paths", 1, [&[0], &[1]]),
                plain("on the first", 3, [&[0]]),
                plain("on the second", 3, [&[1]]),
            ],
        ),
        row(
            "response",
            "five flows come and go on the first path (Peng et al.)",
            &[EACH * 2, EACH * 2],
            Question::Response,
            vec![
                plain("two paths", 1, [&[0], &[1]]),
                Group { active: (1.0 / 3.0, 0.6), ..plain("for a while", 5, [&[0]]) },
                plain("on the second", 1, [&[1]]),
            ],
        ),
        row(
            "parking",
            "three bottlenecks in a row",
            &[EACH * 6; 3],
            Question::Share,
            vec![
                plain("two subflows", 1, [&[0, 1, 2], &[0, 1, 2]]),
                plain("all the way", 3, [&[0, 1, 2]]),
                plain("across the first", 2, [&[0]]),
                plain("across the second", 2, [&[1]]),
                plain("across the third", 2, [&[2]]),
            ],
        ),
        row(
            "triangle",
            "three links, each short for one and half of a detour for another (Wischik et al., figure 2)",
            &[EACH * 2; 3],
            Question::Efficiency,
            vec![
                plain("by link 1", 2, [&[0], &[1, 2]]),
                plain("by link 2", 2, [&[1], &[2, 0]]),
                plain("by link 3", 2, [&[2], &[0, 1]]),
            ],
        ),
        row(
            "rtt",
            "two paths, of 40 and 160 ms",
            &[EACH * 4, EACH * 4],
            Question::BestPath,
            vec![
                group("two paths", 1, [(&[0], 40), (&[1], 160)]),
                group("on the near one", 3, [(&[0], 40)]),
                group("on the far one", 3, [(&[1], 160)]),
            ],
        ),
        row(
            "rttshared",
            "one bottleneck, by ways of 40 and 160 ms, with 5 single-path flows at 40 ms",
            &[EACH * 6],
            Question::Share,
            vec![group("two subflows", 1, [(&[0], 40), (&[0], 160)]), group("single path", 5, [(&[0], 40)])],
        ),
    ]
}

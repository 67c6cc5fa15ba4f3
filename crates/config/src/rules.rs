//! All rules, in order: the first that applies to a connection counts, whole.

use crate::conditions::Subject;
use crate::metered::{Metered, MeteredPath};
use crate::program::Program;
use crate::rule::{Rule, RulePath, Treatment};
use polypath_proto::{AcceptPolicy, ConnectOptions, PathName, PathPolicy, PathUse};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Hears what was decided.
type Teller = Arc<dyn Fn(&str) + Send + Sync>;

/// Rules, and what paths are metered.
#[derive(Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    metered_paths: Vec<MeteredPath>,
    metered: Metered,
    teller: Option<Teller>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { rules, metered_paths, metered, teller: _ } = self;
        let mut f = f.debug_struct("Rules");
        f.field("rules", rules).field("metered_paths", metered_paths).field("metered", metered).finish_non_exhaustive()
    }
}

impl Rules {
    /// `rules` in their order. What no rule says of `metered_paths`, `metered` does.
    #[must_use]
    pub fn new(rules: Vec<Rule>, metered_paths: Vec<MeteredPath>, metered: Metered) -> Self {
        Rules { rules, metered_paths, metered, teller: None }
    }

    /// Has `teller` hear of each connection which rule applies. It must be quick: the stack may be waiting for it.
    #[must_use]
    pub fn on_decision(mut self, teller: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.teller = Some(Arc::new(teller));
        self
    }

    /// Whether nothing is ever decided, or told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.metered_paths.is_empty() && self.teller.is_none()
    }

    /// Whether it matters, or is told, which program a connection belongs to.
    #[must_use]
    pub fn ask_for_programs(&self) -> bool {
        self.teller.is_some() || self.rules.iter().any(|rule| !rule.when.programs.is_empty())
    }

    /// The first rule that applies.
    #[must_use]
    pub fn find(&self, subject: &Subject<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.when.hold(subject))
    }

    /// A path that a rule names and `is_known` does not, and the rule.
    pub fn unknown_path(&self, is_known: impl Fn(&PathName) -> bool) -> Option<(&Rule, &PathName)> {
        let named = self.rules.iter().flat_map(|rule| rule.then.paths.iter().flatten().map(move |p| (rule, &p.path)));
        named.into_iter().find(|(_, path)| !is_known(path))
    }

    /// How a connection is to be opened or accepted.
    #[must_use]
    pub fn options(&self, subject: &Subject<'_>) -> ConnectOptions {
        let rule = self.find(subject);
        if let Some(teller) = &self.teller {
            let which = rule.map_or_else(|| "no rule".to_owned(), |rule| format!("the rule of {}", rule.at));
            teller(&format!("{subject}: {which}"));
        }
        let usual = Treatment::default();
        let then = rule.map_or(&usual, |rule| &rule.then);
        ConnectOptions {
            no_multipath: then.no_multipath.unwrap_or(false),
            scheduler: then.scheduler.clone(),
            congestion: then.congestion,
            path_manager: then.path_manager.clone(),
            max_subflows: then.max_subflows,
            paths: self.paths(then),
            ..ConnectOptions::default()
        }
    }

    /// For a listener of `program`.
    #[must_use]
    pub fn accepting(self: &Arc<Self>, program: Option<Arc<Program>>) -> Arc<dyn AcceptPolicy> {
        Arc::new(Accepting { rules: Arc::clone(self), program })
    }

    fn paths(&self, then: &Treatment) -> Option<PathPolicy> {
        let as_metered = |metered: Metered, backup: bool| match (metered, backup) {
            (Metered::Never, _) => PathUse::Never,
            (Metered::Use, false) => PathUse::Regular,
            (Metered::Backup, _) | (Metered::Use, true) => PathUse::Backup,
        };
        let Some(paths) = &then.paths else {
            let metered = then.metered.unwrap_or(self.metered);
            let terms = self.metered_paths.iter().map(|m| (m.path.clone(), as_metered(metered, m.backup)));
            return (!self.metered_paths.is_empty()).then(|| PathPolicy::new(terms, PathUse::AsItIs));
        };
        // Who names a path in a rule wants it so, unless the rule itself says more of metered ones.
        let path_use = |p: &RulePath| match then.metered {
            Some(metered) if self.metered_paths.iter().any(|m| m.path == p.path) => as_metered(metered, p.backup),
            _ if p.backup => PathUse::Backup,
            _ => PathUse::Regular,
        };
        Some(PathPolicy::new(paths.iter().map(|p| (p.path.clone(), path_use(p))), PathUse::Never))
    }
}

/// What the rules say of connections that a listener takes.
#[derive(Debug)]
struct Accepting {
    rules: Arc<Rules>,
    program: Option<Arc<Program>>,
}

impl AcceptPolicy for Accepting {
    fn options(&self, local: SocketAddr, remote: SocketAddr) -> ConnectOptions {
        self.rules.options(&Subject::incoming(self.program.as_deref(), local, remote))
    }
}

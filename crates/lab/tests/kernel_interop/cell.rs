//! What a cell of the matrix is made of: one value of each dimension, and which combinations do not exist.

/// Enums with a word for each value, and the struct that has one of each.
macro_rules! dimensions {
    ($($(#[$doc:meta])* $field:ident: $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
            pub(crate) enum $name { $($(#[$value_doc])* $value,)+ }

            impl $name {
                const ALL: &[Self] = &[$(Self::$value),+];

                const fn word(self) -> &'static str {
                    match self { $(Self::$value => $word,)+ }
                }
            }
        )+

        /// One combination.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        pub(crate) struct Cell { $(pub(crate) $field: $name,)+ }

        /// How many values each dimension has.
        pub(crate) const SIZES: &[usize] = &[$($name::ALL.len()),+];

        impl Cell {
            /// The cell with these values, by their numbers.
            pub(crate) fn at(numbers: &[usize]) -> Self {
                let mut numbers = numbers.iter().copied();
                Self { $($field: $name::ALL[numbers.next().expect("a number for each dimension")],)+ }
            }

            /// A word for each dimension; empty for an ordinary value.
            pub(crate) const fn words(&self) -> [&'static str; SIZES.len()] {
                [$(self.$field.word()),+]
            }
        }
    };
}

dimensions! {
    /// What polypath is; the kernel is the other.
    role: Role {
        Client = "client",
        Server = "server",
    }
    /// Address families.
    family: Family {
        V4 = "v4",
        V6 = "v6",
        /// The first path is IPv4, the second IPv6.
        Mixed = "mixed",
    }
    /// Where further subflows come from. It is always the client that opens them.
    joins: Joins {
        Alone = "alone",
        /// From the client's second address to the server's only one.
        ClientAddresses = "client-addrs",
        /// To the server's second address, which ADD_ADDR tells.
        Announced = "add-addr",
        /// The same, on a port of its own.
        AnnouncedPort = "add-addr-port",
        /// Both have two addresses.
        FullMesh = "full-mesh",
    }
    /// Who requires DSS checksums.
    checksum: Checksum {
        Nobody = "",
        Kernel = "sum-kernel",
        Polypath = "sum-polypath",
    }
    /// Whether the second address is a backup.
    backup: Backup {
        No = "",
        Yes = "backup",
    }
    /// What happens in mid-transfer, to the second address of whoever does it.
    event: Event {
        None = "",
        KernelRemoves = "rm-kernel",
        PolypathRemoves = "rm-polypath",
        KernelPrio = "prio-kernel",
        PolypathPrio = "prio-polypath",
    }
    /// How the connection ends.
    ending: Ending {
        /// Each end closes its side when it has sent all.
        Orderly = "",
        /// The kernel sends all and closes its side; then polypath sends.
        KernelFirst = "half-kernel",
        PolypathFirst = "half-polypath",
        /// The kernel closes without having read all.
        KernelAborts = "fastclose-kernel",
        PolypathAborts = "fastclose-polypath",
    }
    /// Why it is plain TCP, if it is.
    fallback: Fallback {
        None = "",
        /// The kernel's socket is IPPROTO_TCP.
        KernelPlain = "tcp-kernel",
        PolypathPlain = "tcp-polypath",
        /// Something on the way removes the options.
        Stripped = "stripped",
    }
    /// Whether the server allows no joins to its first address (RFC 8684 section 3.1, flag C).
    c_flag: CFlag {
        No = "",
        Yes = "C",
    }
    /// Whether the server answers SYNs with cookies.
    cookies: Cookies {
        No = "",
        Yes = "cookies",
    }
    /// How applications write.
    writes: Writes {
        Huge = "huge",
        Tiny = "tiny",
    }
}

impl Cell {
    /// The words of all values that are not the ordinary ones.
    pub(crate) fn name(&self) -> String {
        let words: Vec<&str> = self.words().into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }

    /// Whether it has all the values that `words` names: `client|server` is either, `!mixed` any other.
    pub(crate) fn has(&self, words: &str) -> bool {
        let own = self.words();
        words.split_whitespace().all(|word| match word.strip_prefix('!') {
            Some(word) => !own.contains(&word),
            None => word.split('|').any(|word| own.contains(&word)),
        })
    }

    /// Whether polypath is the server.
    pub(crate) fn polypath_serves(&self) -> bool {
        self.role == Role::Server
    }

    /// Whether the server announces its second address.
    pub(crate) fn announces(&self) -> bool {
        matches!(self.joins, Joins::Announced | Joins::AnnouncedPort | Joins::FullMesh)
    }

    /// Whether the client has a second address. Where families are mixed it needs one of the other family.
    pub(crate) fn client_has_two(&self) -> bool {
        matches!(self.joins, Joins::ClientAddresses | Joins::FullMesh)
            || (self.family == Family::Mixed && self.announces())
    }

    /// Subflows as (address of the client, address of the server), each 0 or 1; the first is the initial one.
    pub(crate) fn subflows(&self) -> Vec<(usize, usize)> {
        let mut all = vec![(0, 0)];
        let mixed = self.family == Family::Mixed;
        let first_allowed = self.c_flag == CFlag::No;
        match self.joins {
            Joins::Alone => {}
            Joins::ClientAddresses if first_allowed => all.push((1, 0)),
            Joins::ClientAddresses => {}
            _ if mixed => all.push((1, 1)),
            Joins::Announced | Joins::AnnouncedPort => all.push((0, 1)),
            // Linux joins each address with each. Polypath's path manager is content when each has been used: its own
            // second one joins the first of the server, the announced one is joined from its first, if it may be.
            Joins::FullMesh if self.polypath_serves() && first_allowed => all.extend([(1, 0), (0, 1), (1, 1)]),
            Joins::FullMesh if self.polypath_serves() => all.extend([(0, 1), (1, 1)]),
            Joins::FullMesh if first_allowed => all.extend([(1, 0), (0, 1)]),
            Joins::FullMesh => all.push((1, 1)),
        }
        all
    }

    /// The same, after what happens in mid-transfer.
    pub(crate) fn subflows_in_the_end(&self) -> Vec<(usize, usize)> {
        let mut left = self.subflows();
        if self.removes() {
            left.retain(|subflow| !self.is_hit(*subflow));
        }
        left.extend(self.rejoin());
        left
    }

    /// What polypath's path manager opens in place of subflows that are gone.
    pub(crate) fn rejoin(&self) -> Option<(usize, usize)> {
        self.tries_to_rejoin().filter(|_| !self.half_closes())
    }

    /// Under flag C the announced address is lost with the client's second one, and can be joined from the first.
    pub(crate) fn tries_to_rejoin(&self) -> Option<(usize, usize)> {
        let another = self.joins == Joins::FullMesh && self.family != Family::Mixed && self.c_flag == CFlag::Yes;
        (!self.polypath_serves() && another && self.event == Event::PolypathRemoves).then_some((0, 1))
    }

    /// Whether one end closes its side long before the other. Linux then refuses joins.
    pub(crate) fn half_closes(&self) -> bool {
        matches!(self.ending, Ending::KernelFirst | Ending::PolypathFirst)
    }

    /// Whether a subflow is a backup from its beginning. Only one end's second address is: the server's if it is the
    /// only second one.
    pub(crate) fn is_backup(&self, (client, server): (usize, usize)) -> bool {
        self.backup == Backup::Yes && if self.client_owns_backup() { client == 1 } else { server == 1 }
    }

    /// Whether the address that is a backup belongs to the client.
    pub(crate) fn client_owns_backup(&self) -> bool {
        matches!(self.joins, Joins::ClientAddresses | Joins::FullMesh)
    }

    /// Whether the subflow uses the second address of whoever does something in mid-transfer.
    pub(crate) fn is_hit(&self, (client, server): (usize, usize)) -> bool {
        match self.actor_is_client() {
            None => false,
            Some(true) => client == 1,
            Some(false) => server == 1,
        }
    }

    /// Whether an address is removed in mid-transfer.
    pub(crate) fn removes(&self) -> bool {
        matches!(self.event, Event::KernelRemoves | Event::PolypathRemoves)
    }

    /// Whether it is the client that does something in mid-transfer.
    pub(crate) fn actor_is_client(&self) -> Option<bool> {
        match self.event {
            Event::None => None,
            Event::KernelRemoves | Event::KernelPrio => Some(self.polypath_serves()),
            Event::PolypathRemoves | Event::PolypathPrio => Some(!self.polypath_serves()),
        }
    }

    /// Why there is no such cell.
    pub(crate) fn impossible(&self) -> Option<&'static str> {
        let plain = self.fallback != Fallback::None;
        if plain && (self.joins != Joins::Alone || self.checksum != Checksum::Nobody || self.c_flag == CFlag::Yes) {
            return Some("plain TCP has one subflow and negotiates nothing");
        }
        if self.family == Family::Mixed && !self.announces() {
            return Some("an address of the other family must be announced to be known");
        }
        let second_subflow = self.subflows().len() > 1;
        if !second_subflow && self.backup == Backup::Yes {
            return Some("no subflow to be a backup");
        }
        match self.actor_is_client() {
            Some(true) if !matches!(self.joins, Joins::ClientAddresses | Joins::FullMesh) => {
                Some("the client has no second address to remove or to change")
            }
            Some(false) if !self.announces() => Some("the server has no second address to remove or to change"),
            Some(_) if !second_subflow => Some("no subflow that it would touch"),
            _ => None,
        }
    }
}

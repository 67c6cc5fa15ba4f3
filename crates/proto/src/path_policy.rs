//! Which of the stack's addresses one connection uses, and how: what somebody decides for it, applied to what there is.

use crate::LocalAddress;
use std::net::IpAddr;
use std::sync::Arc;

/// What a connection may use an address for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PathUse {
    /// What the address itself says ([`LocalAddress::backup`]).
    AsItIs,
    /// Always.
    Regular,
    /// Only where nothing else works (RFC 8684, section 3.3.8).
    Backup,
    /// Never.
    Never,
}

/// Which addresses are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathName {
    /// All whose path is called so ([`LocalAddress::name`]).
    Name(Arc<str>),
    /// This one.
    Address(IpAddr),
}

impl PathName {
    /// Whether `addr`, whose path is called `name`, is meant.
    #[must_use]
    pub fn means(&self, addr: IpAddr, name: Option<&str>) -> bool {
        match self {
            PathName::Name(own) => name == Some(own),
            PathName::Address(own) => addr == *own,
        }
    }
}

impl core::fmt::Display for PathName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PathName::Name(name) => write!(f, "'{name}'"),
            PathName::Address(addr) => write!(f, "{addr}"),
        }
    }
}

/// An address, or else the name of a path.
impl From<&str> for PathName {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| PathName::Name(text.into()), PathName::Address)
    }
}

/// Which of the stack's addresses a connection uses. It holds for addresses that come later, too. Where the peer begins a
/// connection at an address that is not to be used, that subflow stays; others do not come there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPolicy {
    terms: Arc<[(PathName, PathUse)]>,
    otherwise: PathUse,
}

impl PathPolicy {
    /// The first of `terms` that means an address counts; `otherwise` where none does.
    pub fn new(terms: impl IntoIterator<Item = (PathName, PathUse)>, otherwise: PathUse) -> Self {
        PathPolicy { terms: terms.into_iter().collect(), otherwise }
    }

    /// Whether `addr` is to be used only as a backup, where it is used at all; `backup`: it says so itself.
    #[must_use]
    pub fn backup(&self, addr: IpAddr, name: Option<&str>, backup: bool) -> Option<bool> {
        let term = self.terms.iter().find(|(path, _)| path.means(addr, name));
        match term.map_or(self.otherwise, |(_, path_use)| *path_use) {
            PathUse::AsItIs => Some(backup),
            PathUse::Regular => Some(false),
            PathUse::Backup => Some(true),
            PathUse::Never => None,
        }
    }
}

/// What `policy`, if there is one, makes of an address.
pub(crate) fn backup_by(policy: Option<&PathPolicy>, address: &LocalAddress) -> Option<bool> {
    policy.map_or(Some(address.backup), |p| p.backup(address.addr, address.name.as_deref(), address.backup))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_term_that_means_an_address_counts() {
        let (wifi, lte): (IpAddr, IpAddr) = ([10, 1, 0, 2].into(), [10, 2, 0, 2].into());
        let terms = [("10.2.0.2".into(), PathUse::Never), ("cheap".into(), PathUse::Regular)];
        let policy = PathPolicy::new(terms, PathUse::Backup);
        assert_eq!(policy.backup(lte, Some("cheap"), false), None);
        assert_eq!(policy.backup(wifi, Some("cheap"), true), Some(false));
        assert_eq!(policy.backup(wifi, None, false), Some(true));
        let as_it_is = PathPolicy::new([], PathUse::AsItIs);
        assert_eq!([true, false].map(|backup| as_it_is.backup(wifi, None, backup)), [Some(true), Some(false)]);
    }
}

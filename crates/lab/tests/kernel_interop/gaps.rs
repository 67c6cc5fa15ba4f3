//! What is known not to work yet.

use crate::cell::Cell;

/// A matter of Linux (6.18): of joins that came by a SYN cookie it removes others than those of the address, and says so
/// (RmSubflow 2). The subflow of the removed address lives on: it answers when polypath asks on it.
const OTHERS_REMOVED: &str = "of joins by SYN cookie, Linux keeps the one to the address that it removes";

/// Words that a cell has, and why it fails then. The matrix fails as soon as such a cell passes: then the entry has
/// to go.
pub(crate) const KNOWN_GAPS: &[(&str, &str)] = &[("client !mixed full-mesh rm-kernel cookies !C", OTHERS_REMOVED)];

/// The gaps that a cell falls into.
pub(crate) fn of(cell: &Cell) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    KNOWN_GAPS.iter().filter(|(words, _)| cell.has(words))
}

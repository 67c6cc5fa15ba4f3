//! What is known not to work yet.

use crate::cell::Cell;

/// Linux counts two (RmSubflow) and closes the client's join to its first address as well, in every run. Without cookies
/// it does not, nor with another Linux as the client. Not understood.
const BOTH_REMOVED: &str = "with SYN cookies, Linux takes the join to its other address away too";

/// Words that a cell has, and why it fails then. The matrix fails as soon as such a cell passes: then the entry has
/// to go.
pub(crate) const KNOWN_GAPS: &[(&str, &str)] =
    &[("server cookies", "no SYN cookies"), ("client !mixed full-mesh rm-kernel cookies !C", BOTH_REMOVED)];

/// The gaps that a cell falls into.
pub(crate) fn of(cell: &Cell) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    KNOWN_GAPS.iter().filter(|(words, _)| cell.has(words))
}

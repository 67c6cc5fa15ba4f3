//! What is known not to work yet.

use crate::cell::Cell;

/// `SubflowManager` takes an announced address for the one it uses instead of the forbidden first one, whether it does
/// so or not.
const NO_WAY_TO_JOIN: &str = "under flag C, an address in use already does not join the announced one";

/// Linux counts two (RmSubflow) and closes the client's join to its first address as well, in every run. Without cookies
/// it does not, nor with another Linux as the client. Not understood.
const BOTH_REMOVED: &str = "with SYN cookies, Linux takes the join to its other address away too";

/// Words that a cell has, and why it fails then. The matrix fails as soon as such a cell passes: then the entry has
/// to go.
pub(crate) const KNOWN_GAPS: &[(&str, &str)] = &[
    ("sum-kernel", "no DSS checksums: a peer that requires them gets plain TCP"),
    ("sum-polypath", "no DSS checksums: they cannot be required"),
    ("server add-addr-port", "no port of its own for an announced address"),
    ("prio-polypath", "MP_PRIO cannot be sent"),
    ("server C", "flag C cannot be set"),
    ("server cookies", "no SYN cookies"),
    ("client !mixed add-addr|add-addr-port C", NO_WAY_TO_JOIN),
    ("client !mixed full-mesh rm-polypath C", NO_WAY_TO_JOIN),
    ("client !mixed full-mesh rm-kernel cookies !C", BOTH_REMOVED),
];

/// The gaps that a cell falls into.
pub(crate) fn of(cell: &Cell) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    KNOWN_GAPS.iter().filter(|(words, _)| cell.has(words))
}

//! Nothing is opened or announced from here: somebody outside does it.

use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;

/// Leaves all of it to [`Connection::open_subflow`](crate::Connection::open_subflow) and its like. What the peer opens is
/// taken.
#[derive(Debug, Default)]
pub struct External;

impl PathManager for External {
    fn name(&self) -> &'static str {
        "external"
    }

    fn handle(&mut self, _: Instant, _: &PathEvent, _: &PathManagerView<'_>, _: &mut Vec<PathCommand>) {}
}

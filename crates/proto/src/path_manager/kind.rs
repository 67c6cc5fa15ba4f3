//! The path managers that can be chosen by name.

use super::{
    BackupManager, External, Fullmesh, Laminar, Ndiffports, PathManager, SignalManager, SinglePath, SubflowManager,
};
use std::sync::Arc;

/// The path managers that can be chosen by name, and those of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathManagerKind {
    /// [`SubflowManager`].
    #[default]
    Subflow,
    /// [`Fullmesh`].
    Fullmesh,
    /// [`SignalManager`].
    Signal,
    /// [`BackupManager`].
    Backup,
    /// [`Ndiffports`], with so many subflows.
    Ndiffports(usize),
    /// [`Laminar`].
    Laminar,
    /// [`SinglePath`].
    SinglePath,
    /// [`External`].
    External,
    /// The application's own.
    Custom(PathManagerFactory),
}

/// Makes a path manager of the application for each connection.
#[derive(Clone)]
pub struct PathManagerFactory(Arc<dyn Fn() -> Box<dyn PathManager> + Send + Sync>);

impl core::fmt::Debug for PathManagerFactory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PathManagerFactory")
    }
}

impl PartialEq for PathManagerFactory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PathManagerFactory {}

impl PathManagerKind {
    /// Every name that [`str::parse`] knows. `ndiffports` may be followed by `:N`, the number of subflows; it is 2.
    pub const NAMES: &'static [&'static str] =
        &["subflow", "fullmesh", "signal", "backup", "ndiffports", "laminar", "single-path", "external"];

    /// One of the application's own: `make` is called once for each connection.
    pub fn custom(make: impl Fn() -> Box<dyn PathManager> + Send + Sync + 'static) -> Self {
        PathManagerKind::Custom(PathManagerFactory(Arc::new(make)))
    }

    pub(crate) fn build(&self) -> Box<dyn PathManager> {
        match self {
            PathManagerKind::Subflow => Box::new(SubflowManager::default()),
            PathManagerKind::Fullmesh => Box::new(Fullmesh::default()),
            PathManagerKind::Signal => Box::new(SignalManager::default()),
            PathManagerKind::Backup => Box::new(BackupManager::default()),
            PathManagerKind::Ndiffports(subflows) => Box::new(Ndiffports::new(*subflows)),
            PathManagerKind::Laminar => Box::new(Laminar::default()),
            PathManagerKind::SinglePath => Box::new(SinglePath::default()),
            PathManagerKind::External => Box::new(External),
            PathManagerKind::Custom(factory) => (factory.0)(),
        }
    }
}

impl core::str::FromStr for PathManagerKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s.split_once(':').map_or((s, None), |(name, n)| (name, Some(n))) {
            ("subflow", None) => PathManagerKind::Subflow,
            ("fullmesh", None) => PathManagerKind::Fullmesh,
            ("signal", None) => PathManagerKind::Signal,
            ("backup", None) => PathManagerKind::Backup,
            ("ndiffports", None) => PathManagerKind::Ndiffports(2),
            ("ndiffports", Some(n)) => match n.parse() {
                Ok(subflows @ 1..=64) => PathManagerKind::Ndiffports(subflows),
                _ => return Err(format!("'{n}' is no number of subflows: 1 to 64")),
            },
            ("laminar", None) => PathManagerKind::Laminar,
            ("single-path", None) => PathManagerKind::SinglePath,
            ("external", None) => PathManagerKind::External,
            _ => return Err(format!("unknown path manager '{s}'; known: {}", Self::NAMES.join(", "))),
        })
    }
}

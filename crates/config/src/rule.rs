//! A rule: when it applies, and what then.

use crate::conditions::Conditions;
use crate::metered::Metered;
use polypath_proto::PathName;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::path_manager::PathManagerKind;
use polypath_proto::scheduler::SchedulerKind;

/// A path that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePath {
    /// Which one.
    pub path: PathName,
    /// Only where nothing else works.
    pub backup: bool,
}

/// `NAME[:backup]`, where the name is that of an interface, of a path, or an address.
impl From<&str> for RulePath {
    fn from(text: &str) -> Self {
        let (name, backup) = text.strip_suffix(":backup").map_or((text, false), |name| (name, true));
        RulePath { path: name.into(), backup }
    }
}

/// How connections differ from all others. None: they do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// The packet scheduler.
    pub scheduler: Option<SchedulerKind>,
    /// The congestion control.
    pub congestion: Option<CongestionKind>,
    /// Which subflows there are.
    pub path_manager: Option<PathManagerKind>,
    /// At most so many.
    pub max_subflows: Option<usize>,
    /// Plain TCP only.
    pub no_multipath: Option<bool>,
    /// These paths only, each as it says here.
    pub paths: Option<Vec<RulePath>>,
    /// What metered paths are used for.
    pub metered: Option<Metered>,
}

/// Which connections are treated how.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where it stands, for people.
    pub at: String,
    /// Which connections.
    pub when: Conditions,
    /// How.
    pub then: Treatment,
}

//! The amount of detail in an explanation.

use crate::enum_text::display_as_str;

/// The amount of detail in the server's explanation of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verbosity {
    /// The plan that the server chooses. The operation does not run.
    QueryPlanner,
    /// The plan, and the numbers of its execution. The operation runs, but a write changes nothing.
    ExecutionStats,
    /// As [`ExecutionStats`](Self::ExecutionStats), and the numbers of the plans that were tried.
    #[default]
    AllPlansExecution,
}

impl Verbosity {
    /// Returns the verbosity as written in a command: `queryPlanner`, `executionStats` or `allPlansExecution`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueryPlanner => "queryPlanner",
            Self::ExecutionStats => "executionStats",
            Self::AllPlansExecution => "allPlansExecution",
        }
    }
}

display_as_str!(Verbosity);

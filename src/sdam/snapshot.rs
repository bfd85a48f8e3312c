//! The state of a topology at an instant, together with its servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::description::{ServerDescription, TopologyDescription, TopologyType};
use super::selection::{self, ServerRequirement};
use super::server::{Server, ServerPool};
use crate::address::ServerAddress;
use crate::error::Result;
use crate::options::ReadPreferenceMode;
use crate::random::below;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct TopologySnapshot {
    description: Arc<TopologyDescription>,
    servers: BTreeMap<ServerAddress, Arc<Server>>,
    local_threshold: Duration,
    /// The servers that are suitable for writes and primary reads, and within the latency window. Most operations
    /// need one of these, so the list is computed once.
    writable: Vec<Selected>,
}

/// A server that was selected for an operation.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) server: Arc<Server>,
    pub(crate) description: Arc<ServerDescription>,
    pub(crate) topology_type: TopologyType,
    /// The shortest lifetime of sessions on the servers of the deployment, in minutes, if all have sessions.
    pub(crate) session_minutes: Option<i64>,
}

impl TopologySnapshot {
    pub(super) fn new(
        description: Arc<TopologyDescription>,
        servers: BTreeMap<ServerAddress, Arc<Server>>,
        local_threshold: Duration,
    ) -> Self {
        let mut snapshot = Self {
            description,
            servers,
            local_threshold,
            writable: Vec::new(),
        };
        let suitable = snapshot.description.suitable(ServerRequirement::Write, &[]);
        let window =
            suitable.map(|suitable| selection::in_latency_window(suitable, local_threshold));
        snapshot.writable = window
            .iter()
            .flatten()
            .filter_map(|description| snapshot.selected(description))
            .collect();
        snapshot
    }

    pub(crate) fn description(&self) -> &Arc<TopologyDescription> {
        &self.description
    }

    pub(crate) fn servers(&self) -> &BTreeMap<ServerAddress, Arc<Server>> {
        &self.servers
    }

    pub(crate) fn server(&self, address: &ServerAddress) -> Option<&Arc<Server>> {
        self.servers.get(address)
    }

    /// Returns true if the snapshot contains this very server, and not another one with the same address.
    pub(super) fn has(&self, server: &Arc<Server>) -> bool {
        let known = self.servers.get(server.address());
        known.is_some_and(|known| Arc::ptr_eq(known, server))
    }

    /// Returns the server that has this pool.
    pub(super) fn of_pool(&self, pool: &ServerPool) -> Option<&Arc<Server>> {
        let known = self.servers.get(pool.server());
        known.filter(|server| std::ptr::eq(Arc::as_ptr(&server.pool), pool))
    }

    pub(crate) fn is_load_balanced(&self) -> bool {
        self.description.topology_type == TopologyType::LoadBalanced
    }

    /// Does the same as [`choose`](Self::choose) for the most common operations. Returns `None` for others, and if no
    /// server is suitable.
    pub(super) fn precomputed(
        &self,
        requirement: ServerRequirement<'_>,
        deprioritized: &[ServerAddress],
    ) -> Option<Selected> {
        let is_common = match requirement {
            ServerRequirement::Write => true,
            ServerRequirement::Pinned(server) => {
                let description = self.description.servers.get(server)?;
                return self
                    .selected(description)
                    .filter(|_| description.is_available());
            }
            ServerRequirement::Read(preference) | ServerRequirement::ReadAndWrite(preference) => {
                preference.mode == ReadPreferenceMode::Primary
            }
        };
        if !is_common || !deprioritized.is_empty() {
            return None;
        }
        selection::choose(&self.writable, Selected::operation_count, below).cloned()
    }

    /// Returns one of the suitable servers within the latency window, or `None` if there is none. Servers in
    /// `deprioritized` are the last choice.
    ///
    /// # Errors
    /// The errors of [`TopologyDescription::suitable`], unless the server with an unknown wire version has worked
    /// before.
    pub(super) fn choose(
        &self,
        requirement: ServerRequirement<'_>,
        deprioritized: &[ServerAddress],
    ) -> Result<Option<Selected>> {
        if let Some(selected) = self.precomputed(requirement, deprioritized) {
            return Ok(Some(selected));
        }
        let suitable = match self.description.suitable(requirement, deprioritized) {
            // The next check may find that the server has not changed.
            Err(_) if self.may_become_compatible() => return Ok(None),
            suitable => suitable?,
        };
        let window = selection::in_latency_window(suitable, self.local_threshold);
        let window: Vec<Selected> = window
            .into_iter()
            .filter_map(|description| self.selected(description))
            .collect();
        Ok(selection::choose(&window, Selected::operation_count, below).cloned())
    }

    /// Returns true if the server whose wire versions this client does not support has worked before.
    fn may_become_compatible(&self) -> bool {
        let incompatible = self.description.incompatible();
        let server = incompatible.and_then(|(server, _)| self.server(&server.address));
        server.is_some_and(|server| server.verdict().has_worked())
    }

    fn selected(&self, description: &Arc<ServerDescription>) -> Option<Selected> {
        Some(Selected {
            server: Arc::clone(self.servers.get(&description.address)?),
            description: Arc::clone(description),
            topology_type: self.description.topology_type,
            session_minutes: self.description.logical_session_timeout_minutes,
        })
    }
}

impl Selected {
    fn operation_count(&self) -> usize {
        self.server.pool.operation_count()
    }
}

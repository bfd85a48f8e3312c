//! Polls DNS for the routers of a sharded cluster.
//!
//! A thread looks up the SRV records when their time to live is over, but at most once a minute, and passes the hosts
//! to the topology; after a failure it waits for `heartbeatFrequencyMS`. Records that the specification rejects are
//! ignored. The thread ends when the deployment turns out not to be a sharded cluster. Source: "Polling SRV Records for
//! mongos Discovery".

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::{Duration, Instant};

use super::rules;
use crate::address::ServerAddress;
use crate::error::Result;
use crate::ffi::thread;
use crate::logging::{debug, warn};
use crate::net::dns::Resolver;
use crate::options::{ClientOptions, SrvOptions};
use crate::printable::Quoted;
use crate::sdam::{Topology, TopologyType};
use crate::stop::Stop;
use crate::time::{Deadline, TimeoutKind};

/// The shortest interval: a minute, even if the time to live of the records is shorter.
pub(crate) const SHORTEST: Duration = Duration::from_secs(60);

/// The polling of one name.
struct Polling {
    topology: Weak<Topology>,
    srv: SrvOptions,
    /// The name server. `None` uses those of `/etc/resolv.conf`, which is read each time because it may change.
    dns_server: Option<SocketAddr>,
    /// The time limit of one lookup: `connectTimeoutMS`.
    limit: Option<Duration>,
    /// `heartbeatFrequencyMS`.
    after_failure: Duration,
    shortest: Duration,
}

/// Starts the thread. It does not keep the topology alive, and ends when the returned handle does.
pub(crate) fn start(
    topology: Weak<Topology>,
    options: &ClientOptions,
    shortest: Duration,
) -> Option<Stop> {
    let alive = topology.upgrade()?;
    let polling = Polling {
        topology,
        srv: super::in_dns(options.srv.as_ref()?).ok()?,
        dns_server: options.dns_server,
        limit: options.connect_timeout,
        after_failure: options.heartbeat_frequency,
        shortest,
    };
    let stop = Stop::default();
    let sleep = stop.sleep();
    let go_on = sleep.clone();
    let run = move || {
        let poll = || {
            let mut interval = polling.shortest;
            while !sleep.stops_within(interval) {
                match polling.round() {
                    Some(next) => interval = next,
                    None => return,
                }
            }
        };
        let pause = polling.after_failure;
        thread::restart_after_panics("polling SRV records", poll, || !go_on.stops_within(pause));
    };
    // If the thread cannot be started now, it is started later.
    let _ = alive.background().start("mongotls-srv", run);
    Some(stop)
}

impl Polling {
    /// Looks up the records once, and returns the time until the next lookup, or `None` if polling ends.
    fn round(&self) -> Option<Duration> {
        let may_change = |topology: &Topology| {
            let kind = topology.snapshot().description().topology_type;
            [TopologyType::Unknown, TopologyType::Sharded].contains(&kind)
        };
        let is_needed = self.topology.upgrade().is_some_and(|it| may_change(&it));
        if !is_needed {
            return None;
        }
        // The lookup may take long, so it holds neither a lock nor the topology.
        let query = rules::query_name(&self.srv);
        let (found, ttl) = match self.look_up(&query) {
            Ok(found) => found,
            Err(error) => {
                warn!(target: "mongotls::dns", "the hosts stay as they are: {error}");
                return Some(self.after_failure);
            }
        };
        let hosts = rules::known_hosts(&self.srv.host, &query, found);
        if hosts.is_empty() {
            warn!(target: "mongotls::dns", "the hosts stay as they are: no SRV record of {query} may be used", query = Quoted(&query));
            return Some(self.after_failure);
        }
        let topology = self.topology.upgrade()?;
        let snapshot = topology.snapshot();
        match self.chosen(hosts, &snapshot.description().servers.keys().collect()) {
            Ok(hosts) => {
                debug!(target: "mongotls::dns", "{query} has {} hosts now", hosts.len());
                topology.replace_hosts(&hosts);
            }
            Err(error) => warn!(target: "mongotls::dns", "the hosts stay as they are: {error}"),
        }
        Some(ttl.max(self.shortest))
    }

    fn look_up(&self, query: &str) -> Result<(Vec<(String, u16)>, Duration)> {
        let deadline = Deadline::after(Instant::now(), self.limit, TimeoutKind::Connect);
        let resolver = Resolver::new(self.dns_server)
            .map_err(|limit| rules::limited(&self.srv.host, query, limit))?;
        resolver
            .srv(query, &deadline)
            .map_err(|failure| rules::no_srv(&self.srv.host, query, failure, &resolver))
    }

    /// Selects the hosts. With `srvMaxHosts`, present hosts are kept and gaps are filled with some of the others.
    fn chosen(
        &self,
        hosts: Vec<ServerAddress>,
        present: &BTreeSet<&ServerAddress>,
    ) -> Result<BTreeSet<ServerAddress>> {
        let max = usize::try_from(self.srv.max_hosts).unwrap_or(usize::MAX);
        if max == 0 || max >= hosts.len() {
            return Ok(hosts.into_iter().collect());
        }
        let (mut kept, new): (Vec<_>, Vec<_>) =
            hosts.into_iter().partition(|host| present.contains(host));
        kept.truncate(max);
        let missing = u32::try_from(max - kept.len()).unwrap_or(u32::MAX);
        if missing > 0 {
            kept.extend(rules::some_of(new, missing)?);
        }
        Ok(kept.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use mongotls_testbench::dns::{DnsFault, DnsServer, Zone};
    use mongotls_testbench::server::{Hello, Server};

    use super::*;
    use crate::conn::Connector;

    const PATIENCE: Duration = Duration::from_secs(10);
    const INTERVAL: Duration = Duration::from_millis(20);

    /// A topology on the routers that a zone names, and its polling.
    struct PolledTopology {
        dns: DnsServer,
        topology: Arc<Topology>,
        stop: Stop,
    }

    impl PolledTopology {
        fn start(hosts: &[(&str, u16)], options: &str) -> Self {
            Self::start_at("db.test.example", zone(hosts), options)
        }

        fn start_at(name: &str, zone: Zone, options: &str) -> Self {
            let dns = DnsServer::start(zone);
            let uri = format!("mongodb+srv://{name}/?tls=false{options}");
            let (mut options, _) = ClientOptions::parse(&uri).unwrap();
            options.dns_server = Some(dns.addr());
            options.heartbeat_frequency = INTERVAL;
            crate::srv::resolve(&mut options).unwrap();
            let topology = Topology::new(&options, &Connector::new(&options).unwrap());
            let own = Arc::downgrade(&topology);
            let stop = start(own, &options, INTERVAL).unwrap();
            Self {
                dns,
                topology,
                stop,
            }
        }

        fn hosts(&self) -> Vec<String> {
            let snapshot = self.topology.snapshot();
            let servers = snapshot.description().servers.keys();
            servers.map(ToString::to_string).collect()
        }

        fn await_hosts(&self, expected: &[&str]) {
            let started = Instant::now();
            while self.hosts() != expected {
                assert!(started.elapsed() < PATIENCE, "{:?}", self.hosts());
                thread::sleep(Duration::from_millis(1));
            }
        }

        /// Waits until DNS was queried this often once more.
        fn await_rounds(&self, count: usize) {
            let (started, before) = (Instant::now(), self.dns.asked().len());
            while self.dns.asked().len() < before + count {
                assert!(started.elapsed() < PATIENCE);
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn zone(hosts: &[(&str, u16)]) -> Zone {
        let record = |(host, port): &(&str, u16)| {
            format!("_mongodb._tcp.db.test.example. SRV {port} {host}.\n")
        };
        Zone::parse(&hosts.iter().map(record).collect::<String>()).ttl(0)
    }

    #[test]
    fn hosts_come_and_go_with_their_records() {
        let bench = PolledTopology::start(&[("a.test.example", 1), ("b.test.example", 2)], "");
        assert_eq!(bench.hosts(), ["a.test.example:1", "b.test.example:2"]);
        let before = Arc::clone(
            &bench.topology.snapshot().servers()[&ServerAddress::tcp("b.test.example", 2)],
        );
        bench
            .dns
            .set_zone(zone(&[("b.test.example", 2), ("c.test.example", 3)]));
        bench.await_hosts(&["b.test.example:2", "c.test.example:3"]);
        let snapshot = bench.topology.snapshot();
        let after = &snapshot.servers()[&ServerAddress::tcp("b.test.example", 2)];
        assert!(Arc::ptr_eq(&before, after), "who stays is left alone");
    }

    #[test]
    fn refused_and_failed_lookups_change_nothing() {
        let bench = PolledTopology::start(&[("a.test.example", 1)], "");
        bench.dns.set_zone(zone(&[("evil.example", 1)]));
        bench.await_rounds(3);
        assert_eq!(bench.hosts(), ["a.test.example:1"]);
        bench.dns.set_zone(Zone::default());
        bench.await_rounds(3);
        assert_eq!(bench.hosts(), ["a.test.example:1"]);
        bench.dns.set_fault(DnsFault::Code(2));
        bench.await_rounds(3);
        assert_eq!(bench.hosts(), ["a.test.example:1"]);
        bench.dns.set_fault(DnsFault::None);
        bench
            .dns
            .set_zone(zone(&[("evil.example", 1), ("b.test.example", 2)]));
        bench.await_hosts(&["b.test.example:2"]);
    }

    #[test]
    fn with_srv_max_hosts_hosts_stay_and_gaps_are_filled() {
        let all = [
            ("a.test.example", 1),
            ("b.test.example", 2),
            ("c.test.example", 3),
        ];
        let bench = PolledTopology::start(&all, "&srvMaxHosts=2");
        let before = bench.hosts();
        assert_eq!(before.len(), 2);
        bench.await_rounds(3);
        assert_eq!(bench.hosts(), before);
        let stays = before[0].clone();
        let name = stays.split(':').next().unwrap();
        let port = all.iter().find(|(host, _)| *host == name).unwrap().1;
        let new = [(name, port), ("d.test.example", 4), ("e.test.example", 5)];
        bench.dns.set_zone(zone(&new));
        let started = Instant::now();
        while bench.hosts() == before {
            assert!(started.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(1));
        }
        let after = bench.hosts();
        assert!(after.len() == 2 && after.contains(&stays), "{after:?}");
    }

    /// A topology on the records of the specification's tests: `test1`, on the ports 27017 and 27018.
    fn test1(options: &str) -> PolledTopology {
        PolledTopology::start_at(
            "test1.test.build.10gen.cc",
            spec_zone("test1", &[27017, 27018]),
            options,
        )
    }

    /// The zone of a name of the specification's tests, with one record for each port.
    fn spec_zone(name: &str, ports: &[u16]) -> Zone {
        let service = if name == "test22" {
            "_customname"
        } else {
            "_mongodb"
        };
        let record = |port: &u16| {
            format!(
                "{service}._tcp.{name}.test.build.10gen.cc. SRV {port} localhost.test.build.10gen.cc.\n"
            )
        };
        Zone::parse(&ports.iter().map(record).collect::<String>()).ttl(0)
    }

    /// Waits until the topology has exactly the hosts with these ports, and still has them two intervals later.
    fn await_ports(bench: &PolledTopology, ports: &[u16]) {
        let hosts = ports
            .iter()
            .map(|port| format!("localhost.test.build.10gen.cc:{port}"));
        let hosts: Vec<String> = hosts.collect();
        let expected: Vec<&str> = hosts.iter().map(String::as_str).collect();
        bench.await_hosts(&expected);
        bench.await_rounds(2);
        assert_eq!(bench.hosts(), expected);
    }

    /// SRV polling, prose tests 1 to 5: "Changing DNS records with test1.test.build.10gen.cc".
    #[test]
    fn prose_1_to_5_changed_records_change_the_hosts() {
        let changes: [(&str, &[u16]); 5] = [
            ("1. Addition of a new DNS record", &[27017, 27018, 27019]),
            ("2. Removal of an existing DNS record", &[27017]),
            ("3. Replacement of a DNS record", &[27017, 27019]),
            (
                "4. Replacement of both records with one new record",
                &[27019],
            ),
            (
                "5. Replacement of both records with two new records",
                &[27019, 27020],
            ),
        ];
        for (name, ports) in changes {
            println!("{name}");
            let bench = test1("");
            await_ports(&bench, &[27017, 27018]);
            bench.dns.set_zone(spec_zone("test1", ports));
            await_ports(&bench, ports);
        }
    }

    /// SRV polling, prose tests 6 to 8: "Error scenarios with test1.test.build.10gen.cc".
    #[test]
    fn prose_6_to_8_errors_leave_the_hosts_unchanged() {
        type Spoil = fn(&DnsServer);
        let errors: [(&str, Spoil); 3] = [
            ("6. DNS record lookup timeout", |dns| {
                dns.set_fault(DnsFault::Silent)
            }),
            // The answer says that the name does not exist.
            ("7. DNS record lookup failure", |dns| {
                dns.set_fault(DnsFault::Code(3))
            }),
            ("8. Removal of all DNS SRV records", |dns| {
                dns.set_zone(spec_zone("test1", &[]))
            }),
        ];
        for (name, break_dns) in errors {
            println!("{name}");
            let bench = test1("&connectTimeoutMS=200");
            break_dns(&bench.dns);
            await_ports(&bench, &[27017, 27018]);
            // Polling continues.
            bench.dns.set_fault(DnsFault::None);
            bench.dns.set_zone(spec_zone("test1", &[27019]));
            await_ports(&bench, &[27019]);
        }
    }

    /// SRV polling, prose test 9: "Test that SRV polling is not done for load balanced clusters".
    #[test]
    fn prose_9_a_load_balancer_is_not_polled() {
        let zone = spec_zone("test3", &[27017]);
        let name = "test3.test.build.10gen.cc";
        let bench = PolledTopology::start_at(name, zone, "&loadBalanced=true");
        let queries = bench.dns.asked().len();
        bench.dns.set_zone(spec_zone("test3", &[27017, 27018]));
        thread::sleep(INTERVAL * 5);
        assert_eq!(bench.hosts(), ["localhost.test.build.10gen.cc:27017"]);
        assert_eq!(bench.dns.asked().len(), queries);
    }

    /// SRV polling, prose test 10: "All DNS records are selected (srvMaxHosts = 0)".
    #[test]
    fn prose_10_without_srv_max_hosts_all_are_selected() {
        let bench = test1("&srvMaxHosts=0");
        bench
            .dns
            .set_zone(spec_zone("test1", &[27017, 27019, 27020]));
        await_ports(&bench, &[27017, 27019, 27020]);
    }

    /// SRV polling, prose test 11: "All DNS records are selected (srvMaxHosts >= records)".
    #[test]
    fn prose_11_up_to_srv_max_hosts_all_are_selected() {
        let bench = test1("&srvMaxHosts=2");
        bench.dns.set_zone(spec_zone("test1", &[27019, 27020]));
        await_ports(&bench, &[27019, 27020]);
    }

    /// SRV polling, prose test 12: "New DNS records are randomly selected (srvMaxHosts > 0)".
    #[test]
    fn prose_12_beyond_srv_max_hosts_new_hosts_are_selected_at_random() {
        let mut selected = BTreeSet::new();
        for _ in 0..30 {
            let bench = test1("&srvMaxHosts=2");
            bench
                .dns
                .set_zone(spec_zone("test1", &[27017, 27019, 27020]));
            let started = Instant::now();
            let is_old = |host: &String| host.ends_with(":27018");
            while bench.hosts().iter().any(is_old) {
                assert!(started.elapsed() < PATIENCE);
                thread::sleep(Duration::from_millis(1));
            }
            bench.await_rounds(1);
            let hosts = bench.hosts();
            assert_eq!(
                (hosts.len(), hosts[0].as_str()),
                (2, "localhost.test.build.10gen.cc:27017")
            );
            selected.insert(hosts[1].clone());
            if selected.len() == 2 {
                return;
            }
        }
        panic!("not at random: {selected:?}");
    }

    /// SRV polling, prose test 13: "DNS record with custom service name can be found".
    #[test]
    fn prose_13_records_of_a_custom_service_are_polled() {
        let zone = spec_zone("test22", &[27017, 27018]);
        let name = "test22.test.build.10gen.cc";
        let bench = PolledTopology::start_at(name, zone, "&srvServiceName=customname");
        bench.dns.set_zone(spec_zone("test22", &[27019, 27020]));
        await_ports(&bench, &[27019, 27020]);
    }

    #[test]
    fn a_replica_set_is_not_polled() {
        let router = Server::builder().hello(Hello::mongos()).start();
        let host = [("localhost.test.example", router.port())];
        let bench = PolledTopology::start(&host, "&replicaSet=rs0");
        // The thread has ended without a query beyond the two of the beginning.
        let started = Instant::now();
        while Arc::weak_count(&bench.topology) > 0 && started.elapsed() < Duration::from_secs(1) {
            thread::sleep(INTERVAL);
        }
        assert_eq!(bench.dns.asked().len(), 2);
        bench.stop.stop();
    }
}

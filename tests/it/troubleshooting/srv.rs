//! Examples of `mongodb+srv` names whose records are missing or rejected.

use mongotls::{CauseCode, Client, ConnectionString};
use mongotls_testbench::dns::{DnsServer, Zone};

use super::{Inject, Lab};

pub(super) fn injections(code: CauseCode) -> &'static [Inject] {
    match code {
        CauseCode::SrvNotFound => &[
            |lab| lab.srv(""),
            |lab| lab.srv("_mongodb._tcp.cluster.example.com. TXT \"text\""),
        ],
        CauseCode::SrvInvalid => &[
            |lab| lab.srv("_mongodb._tcp.cluster.example.com. SRV 27017 db.example.net."),
            |lab| lab.srv(&format!("{HOST}\n{TXT} \"a=b\"\n{TXT} \"c=d\"")),
            |lab| lab.srv(&format!("{HOST}\n{TXT} \"ssl=false\"")),
            |lab| lab.srv(&format!("{HOST}\n{TXT} \"authSource\"")),
        ],
        _ => &[],
    }
}

const HOST: &str = "_mongodb._tcp.cluster.example.com. SRV 27017 db.example.com.";
const TXT: &str = "cluster.example.com. TXT";

impl Lab {
    /// The error of a program whose name server has these records.
    fn srv(&self, zone: &str) -> Option<String> {
        let dns = DnsServer::start(Zone::parse(zone));
        let uri = ConnectionString::parse("mongodb+srv://cluster.example.com/").unwrap();
        let options = uri.into_builder().dns_server(dns.addr()).build().unwrap();
        let error = Client::with_options(options).unwrap_err();
        Some(self.normalise(&format!("{error:?}"), None))
    }
}

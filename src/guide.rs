//! The guides of this crate, as they are in the folder `docs/` of its repository.
//!
//! | guide | for |
//! |---|---|
//! | [`tls`] | every option of TLS, with an example each |
//! | [`authentication`] | users and mechanisms |
//! | [`connections`] | the pool, `mongodb+srv`, proxies, tunnels, closing a client, forking |
//! | [`crud`] | collections: reads and writes, their errors, and whether a failed write was made |
//! | [`migrating`] | programs for the official crate, PyMongo and libmongoc |
//! | [`timeouts`] | the time limit of an operation, and of a cursor |
//! | [`topologies`] | replica sets and sharded clusters |
//! | [`sessions`] | sessions, causal consistency, the cluster time |
//! | [`transactions`] | transactions: with a closure, and step by step |
//! | [`change_streams`] | the changes of a collection, a database or a deployment |
//! | [`gridfs`] | files of any size |
//! | [`monitoring`] | events and log lines |
//! | [`troubleshooting`] | each cause of a failed connection: an example and what to do |
//! | [`doctor`] | the examination of a whole deployment |
//! | [`command_line`] | the program `mongotls` |
//! | [`performance`] | measured costs |

macro_rules! guides {
    ($($name:ident)*) => {
        $(
            #[doc = include_str!(concat!(env!("OUT_DIR"), "/guide/", stringify!($name), ".md"))]
            pub mod $name {}
        )*
    };
}

guides! { authentication change_streams command_line connections crud doctor gridfs migrating monitoring performance sessions timeouts tls topologies transactions troubleshooting }

//! ferretdb

//! A blocking MongoDB connector on OpenSSL.

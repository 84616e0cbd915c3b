//! Directives of TLS, which there is not: known and kept without effect; a `tls-port` is refused.

use crate::config::directives::{Directive, INT, choice, field, flag, number, text};

const TLS: &str = "TLS is not there yet";

/// The rows.
pub(crate) const ROWS: &[Directive] = &[
    number("tls-port", field!(tls_port), (0, 65_535), "0")
        .refused(TLS)
        .doc("Port for TLS; 0 for none."),
    text("tls-cert-file", field!(tls_cert_file), "").inert(TLS).doc("Certificate."),
    text("tls-key-file", field!(tls_key_file), "").inert(TLS).doc("The certificate's private key."),
    text("tls-key-file-pass", field!(tls_key_file_pass), "")
        .secret()
        .inert(TLS)
        .doc("Password of the key."),
    text("tls-client-cert-file", field!(tls_client_cert_file), "")
        .inert(TLS)
        .doc("Certificate of outgoing connections."),
    text("tls-client-key-file", field!(tls_client_key_file), "").inert(TLS).doc("Its private key."),
    text("tls-client-key-file-pass", field!(tls_client_key_file_pass), "")
        .secret()
        .inert(TLS)
        .doc("Password of that key."),
    text("tls-dh-params-file", field!(tls_dh_params_file), "")
        .inert(TLS)
        .doc("Diffie-Hellman parameters."),
    text("tls-ca-cert-file", field!(tls_ca_cert_file), "")
        .inert(TLS)
        .doc("Certificates of authorities to trust."),
    text("tls-ca-cert-dir", field!(tls_ca_cert_dir), "")
        .inert(TLS)
        .doc("Directory of such certificates."),
    choice("tls-auth-clients", field!(tls_auth_clients), "yes")
        .inert(TLS)
        .doc("Whether clients must present a certificate."),
    choice("tls-auth-clients-user", field!(tls_auth_clients_user), "off")
        .inert(TLS)
        .doc("Which part of a client's certificate names its user."),
    number("tls-auto-reload-interval", field!(tls_auto_reload_interval), (0, INT), "0")
        .inert(TLS)
        .doc("Seconds after which certificates are read again; 0 for never."),
    flag("tls-replication", field!(tls_replication), "no").inert(TLS).doc("Replicate through TLS."),
    flag("tls-cluster", field!(tls_cluster), "no")
        .inert(TLS)
        .doc("Talk to other nodes through TLS."),
    text("tls-protocols", field!(tls_protocols), "").inert(TLS).doc("Versions to offer."),
    text("tls-ciphers", field!(tls_ciphers), "").inert(TLS).doc("Ciphers for versions up to 1.2."),
    text("tls-ciphersuites", field!(tls_ciphersuites), "")
        .inert(TLS)
        .doc("Ciphers for version 1.3."),
    flag("tls-prefer-server-ciphers", field!(tls_prefer_server_ciphers), "no")
        .inert(TLS)
        .doc("Let the server's order of ciphers win."),
    flag("tls-session-caching", field!(tls_session_caching), "yes")
        .inert(TLS)
        .doc("Let sessions be resumed."),
    number("tls-session-cache-size", field!(tls_session_cache_size), (0, INT), "20480")
        .inert(TLS)
        .doc("Sessions to remember; 0 for no limit."),
    number("tls-session-cache-timeout", field!(tls_session_cache_timeout), (0, INT), "300")
        .inert(TLS)
        .doc("Seconds to remember a session."),
];

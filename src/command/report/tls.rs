//! What `stats` and `stats settings` tell of TLS, in memcached's names, places and words.

use super::{Context, Report, Totals, yes};
use crate::clock::Tick;
use crate::settings::TlsSettings;
use std::path::PathBuf;

/// Rows of `stats`, where there is TLS.
pub(super) fn general(report: &mut Report, cx: &Context<'_>, totals: &Totals) {
    let Some(tls) = &cx.daemon.tls else { return };
    if cx.daemon.settings.tls.session_cache {
        report.push("ssl_new_sessions", totals.ssl_new_sessions);
    }
    report.push("ssl_handshake_errors", totals.ssl_handshake_errors);
    report.push("ssl_proto_errors", totals.ssl_proto_errors);
    report.push("time_since_server_cert_refresh", cx.now.tick.0.saturating_sub(tls.loaded().0) / Tick::PER_SEC);
}

/// Rows of `stats settings`; memcached has them with TLS or without.
pub(super) fn settings(report: &mut Report, tls: &TlsSettings) {
    let path =
        |path: &Option<PathBuf>, none: &str| path.as_ref().map_or(none.to_owned(), |path| path.display().to_string());
    report.push("ssl_enabled", yes(tls.is_on));
    report.push("ssl_chain_cert", path(&tls.chain_cert, "(null)"));
    report.push("ssl_key", path(&tls.key, "(null)"));
    // OpenSSL's bits: a certificate is asked for, must be there, is asked for once.
    report.push("ssl_verify_mode", [0, 1, 3, 7][usize::from(tls.verify_mode.min(3))]);
    report.push("ssl_keyformat", if tls.key_is_der { 2 } else { 1 });
    report.push("ssl_ciphers", tls.ciphers.as_deref().unwrap_or("NULL"));
    report.push("ssl_ca_cert", path(&tls.ca_cert, "NULL"));
    report.push("ssl_wbuf_size", u64::from(tls.wbuf_kb) << 10);
    report.push("ssl_session_cache", yes(tls.session_cache));
    report.push("ssl_kernel_tls", yes(tls.kernel_tls));
    let version = ["tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"][usize::from(tls.min_version.min(TlsSettings::TLS_1_3))];
    report.push("ssl_min_version", version);
}

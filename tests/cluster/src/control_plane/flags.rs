//! The command lines. They follow what controller-runtime's envtest gives, with RBAC and an audit log.

use std::path::Path;

use super::{ADMIN, Options, Places};
use crate::certificates::Authority;
use crate::error::BedError;

pub(super) fn etcd(places: &Places) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", places.etcd_port);
    let peer = format!("http://127.0.0.1:{}", places.etcd_peer_port);
    vec![
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        format!("--data-dir={}", places.directory.join("etcd").display()),
        // What a test writes need not survive a power cut.
        "--unsafe-no-fsync=true".to_owned(),
        "--log-level=error".to_owned(),
    ]
}

pub(super) fn apiserver(places: &Places, authority: &Authority, options: Options) -> Vec<String> {
    let file = |name: &str| places.directory.join(name).display().to_string();
    let service_account_key = authority.service_account_key.display();
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", places.etcd_port),
        format!("--secure-port={}", places.apiserver_port),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", authority.certificate.display()),
        format!("--cert-dir={}", file("apiserver")),
        format!("--service-account-issuer=https://127.0.0.1:{}/", places.apiserver_port),
        format!("--service-account-key-file={}", authority.service_account_public_key.display()),
        format!("--service-account-signing-key-file={service_account_key}"),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        // Requests queue on two busy cores anyway; what is refused should be what a test refuses.
        "--enable-priority-and-fairness=false".to_owned(),
        "--max-requests-inflight=0".to_owned(),
        "--max-mutating-requests-inflight=0".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--audit-policy-file={}", places.audit_policy().display()),
        format!("--audit-log-path={}", places.audit_log().display()),
        "--audit-log-mode=blocking".to_owned(),
        "--audit-log-maxsize=4000".to_owned(),
    ];
    if !options.controllers {
        // Without the controller there is no default ServiceAccount, and no pod could be made.
        flags.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    flags
}

/// The controllers that a test needs; the others would only take time, and evict pods of nodes that do not report.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,garbage-collector-controller,\
    namespace-controller,job-controller,serviceaccount-controller,disruption-controller,\
    horizontal-pod-autoscaler-controller,ttl-after-finished-controller,root-ca-certificate-publisher-controller";

pub(super) fn controllers(places: &Places, authority: &Authority, kubeconfig: &Path) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        // Nobody asks the controllers anything.
        "--authentication-skip-lookup=true".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", places.controllers_port),
        format!("--cert-dir={}", places.directory.join("controllers").display()),
        format!("--controllers={}", CONTROLLERS.replace(' ', "")),
        format!("--service-account-private-key-file={}", authority.service_account_key.display()),
        format!("--root-ca-file={}", authority.certificate.display()),
        "--use-service-account-credentials=false".to_owned(),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
        "--concurrent-deployment-syncs=10".to_owned(),
        "--concurrent-replicaset-syncs=10".to_owned(),
        "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
    ]
}

pub(super) fn write_audit_policy(places: &Places) -> Result<(), BedError> {
    let policy = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
         - level: None\n  users: [\"{ADMIN}\", \"system:apiserver\", \"system:kube-controller-manager\", \"system:anonymous\"]\n\
         - level: Metadata\n"
    );
    let path = places.audit_policy();
    std::fs::write(&path, policy).map_err(BedError::io(format!("writing {}", path.display())))
}

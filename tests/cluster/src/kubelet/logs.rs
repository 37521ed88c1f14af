//! The one thing that a kubelet serves here: the logs of its containers, so that `kubectl logs` works.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Shared;
use crate::control_plane::ControlPlane;
use crate::error::BedError;
use crate::process::read_log;
use crate::tls;

/// The port, and the task that serves.
pub(super) async fn serve(
    plane: &ControlPlane,
    shared: Arc<Shared>,
) -> Result<(u16, JoinHandle<()>), BedError> {
    let acceptor = tls::acceptor(&plane.authority().server("kubelet")?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(BedError::io("the kubelet's port"))?;
    let port = listener.local_addr().map_err(BedError::io("the kubelet's port"))?.port();
    let routes = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", axum::routing::get(log));
    let routes = routes.with_state(shared);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, routes) = (acceptor.clone(), routes.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = TowerToHyperService::new(routes);
                // A client that goes away has its reasons.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((port, task))
}

async fn log(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, _)): Path<(String, String, String)>,
) -> String {
    read_log(&shared.log_path(&namespace, &pod))
}

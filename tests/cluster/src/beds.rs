//! The beds that suites are made of.

use std::collections::BTreeMap;

use crate::assets;
use crate::control_plane::{ControlPlane, Options};
use crate::error::BedError;
use crate::kubelet::light::Behaviour;
use crate::kubelet::{Image, Images, Kubelet};
use crate::objects;
use crate::operator::{Operator, Settings};
use crate::suite::Bed;

/// The images that tests name.
pub fn images() -> Images {
    let light = |behaviour| Image::Light(behaviour);
    BTreeMap::from(
        [
            ("podicorn/example-flask:0.1", Image::Directory(assets::checkout("examples/flask"))),
            ("podicorn/example-flask:0.2", Image::Directory(assets::checkout("examples/flask"))),
            ("podicorn/light:0.1", light(Behaviour::Honest)),
            ("podicorn/light:0.2", light(Behaviour::Honest)),
            ("podicorn/light:lying", light(Behaviour::Lying)),
            ("podicorn/light:garbled", light(Behaviour::Garbled)),
            ("podicorn/light:slow", light(Behaviour::Slow)),
            ("podicorn/light:silent", light(Behaviour::Silent)),
        ]
        .map(|(name, image)| (name.to_owned(), image)),
    )
}

/// A control plane with controllers, the CRD, a kubelet; no operator.
pub async fn cluster() -> Result<Bed, BedError> {
    let plane = ControlPlane::start(Options { controllers: true }).await?;
    objects::install_crd(&plane.admin().await?).await?;
    let kubelet = Kubelet::start(&plane, Some(assets::podicorn()?), images()).await?;
    Ok(Bed { operator: None, kubelet: Some(kubelet), plane })
}

/// A control plane with controllers and a kubelet, on which the operator is yet to be installed. Its image is the
/// program that Cargo has built; it is to the apiserver who it would be by its pod's token.
pub async fn bare(image: &str, account: &str) -> Result<Bed, BedError> {
    let plane = ControlPlane::start(Options { controllers: true }).await?;
    let kubeconfig =
        plane.kubeconfig(&format!("system:serviceaccount:{account}"), Some("system:serviceaccounts"))?;
    let operator = Image::Program {
        path: assets::operator()?,
        environment: vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())],
    };
    let mut images = images();
    images.insert(image.to_owned(), operator);
    let kubelet = Kubelet::start(&plane, Some(assets::podicorn()?), images).await?;
    Ok(Bed { operator: None, kubelet: Some(kubelet), plane })
}

/// What [`cluster`] is, with an operator for all namespaces.
pub async fn operated(settings: Settings) -> Result<Bed, BedError> {
    let mut bed = cluster().await?;
    bed.operator = Some(Operator::start(&bed.plane, &settings).await?);
    Ok(bed)
}

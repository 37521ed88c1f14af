//! From a container of a pod's spec to a process: arguments, environment and files as they are, brought onto the pod's
//! loopback address and into its directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use kube::{Api, ResourceExt};

use super::{Image, Shared};
use crate::error::BedError;
use crate::process::Start;

/// Mount paths, and the directories that stand for them.
pub(super) type Mounts = BTreeMap<String, PathBuf>;

/// Writes the files of the pod's Secret volumes; an error until all the Secrets are there. Other kinds of volumes are
/// empty directories.
pub(super) async fn mount(shared: &Shared, pod: &Pod) -> Result<Mounts, BedError> {
    let namespace = pod.namespace().unwrap_or_default();
    let root = shared.directory().join(format!("{namespace}_{}", pod.name_any()));
    let spec = pod.spec.as_ref().ok_or_else(|| BedError::Unexpected("a pod without a spec".to_owned()))?;
    let secrets = Api::<Secret>::namespaced(shared.client.0.clone(), &namespace);
    let mut volumes = BTreeMap::new();
    for volume in spec.volumes.iter().flatten() {
        let directory = root.join(&volume.name);
        std::fs::create_dir_all(&directory).map_err(BedError::io(directory.display().to_string()))?;
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let secret = secrets.get(name).await?;
            let items = source.items.as_ref();
            for (key, value) in secret.data.iter().flatten() {
                let item = items.and_then(|items| items.iter().find(|item| &item.key == key));
                if items.is_some() && item.is_none() {
                    continue;
                }
                let path = directory.join(item.map_or(key.as_str(), |item| item.path.as_str()));
                replace(&path, &value.0)?;
            }
        }
        volumes.insert(volume.name.clone(), directory);
    }
    let mounts = spec.containers.first().and_then(|container| container.volume_mounts.as_ref());
    Ok(mounts
        .into_iter()
        .flatten()
        .filter_map(|mount| {
            let directory = volumes.get(&mount.name)?;
            let directory =
                mount.sub_path.as_ref().map_or_else(|| directory.clone(), |path| directory.join(path));
            Some((mount.mount_path.clone(), directory))
        })
        .collect())
}

/// How the pod's first container is started.
pub(super) fn start(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    address: Ipv4Addr,
    mounts: &Mounts,
) -> Result<Start, BedError> {
    let namespace = pod.namespace().unwrap_or_default();
    let image = container.image.as_deref().unwrap_or_default();
    let (directory, entry_point) = match shared.images.get(image) {
        Some(Image::Directory(directory)) => (directory.clone(), None),
        Some(Image::Light(_)) => (shared.directory().to_owned(), None),
        Some(Image::Program { path, environment }) => {
            (shared.directory().to_owned(), Some((path, environment)))
        }
        None => return Err(BedError::Unexpected(format!("no image {image}"))),
    };
    let log = shared.log_path(&namespace, &pod.name_any());
    if let (Some((path, more)), None) = (entry_point, &container.command) {
        let words = container.args.iter().flatten().map(|word| localise(word, address, mounts));
        let mut start = Start::new(&pod.name_any(), path, log).arguments(words);
        let mut all = environment(pod, container, address, Path::new("/usr/bin"));
        all.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
        start.directory = Some(directory);
        start.environment = Some(all);
        return Ok(start);
    }
    let podicorn = shared.podicorn.as_ref();
    let programs = podicorn.and_then(|program| program.parent()).unwrap_or(Path::new("/usr/bin"));
    let mut words = container.command.iter().flatten().chain(container.args.iter().flatten());
    let program = match words.next().map(String::as_str) {
        None => return Err(BedError::Unexpected(format!("image {image} has no command of its own"))),
        Some("podicorn") => {
            podicorn.cloned().ok_or_else(|| BedError::Unexpected("this bed has no podicorn".to_owned()))?
        }
        Some(word) if word.contains('/') => PathBuf::from(word),
        Some(word) => {
            let own = programs.join(word);
            if own.exists() { own } else { PathBuf::from(word) }
        }
    };
    let mut start = Start::new(&pod.name_any(), &program, log)
        .arguments(words.map(|word| localise(word, address, mounts)));
    start.directory = Some(directory);
    start.environment = Some(environment(pod, container, address, programs));
    Ok(start)
}

/// Listens on the pod's address where the argument says "everywhere", and finds mounted files where they are.
fn localise(word: &str, address: Ipv4Addr, mounts: &Mounts) -> String {
    let address = format!("{address}:");
    let mut word = word.replace("0.0.0.0:", &address).replace("[::]:", &address);
    for (path, directory) in mounts {
        word = word.replace(path.as_str(), &directory.display().to_string());
    }
    word
}

fn environment(
    pod: &Pod,
    container: &Container,
    address: Ipv4Addr,
    programs: &Path,
) -> Vec<(OsString, OsString)> {
    let system = std::env::var("PATH").unwrap_or_default();
    let mut all = vec![
        ("PATH".to_owned(), format!("{}:{system}", programs.display())),
        ("HOSTNAME".to_owned(), pod.name_any()),
        ("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
    ];
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
        let value = match field.map(|field| field.field_path.as_str()) {
            Some("metadata.name") => Some(pod.name_any()),
            Some("metadata.namespace") => pod.namespace(),
            Some("status.podIP") => Some(address.to_string()),
            Some(_) => None,
            None => variable.value.clone(),
        };
        all.push((variable.name.clone(), value.unwrap_or_default()));
    }
    all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Whole or not at all, as the kubelet does it; untouched where nothing has changed.
fn replace(path: &Path, content: &[u8]) -> Result<(), BedError> {
    if std::fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let new = path.with_extension("new");
    std::fs::write(&new, content).map_err(BedError::io(new.display().to_string()))?;
    std::fs::rename(&new, path).map_err(BedError::io(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_brought_to_where_the_pod_is() {
        let mounts = Mounts::from([("/var/run/podicorn/admin".to_owned(), PathBuf::from("/tmp/x"))]);
        let address = Ipv4Addr::new(127, 20, 0, 7);
        let here = |word: &str| localise(word, address, &mounts);
        assert_eq!(here("--bind=0.0.0.0:8000"), "--bind=127.20.0.7:8000");
        assert_eq!(here("--admin-bind=[::]:9099"), "--admin-bind=127.20.0.7:9099");
        assert_eq!(
            here("--admin-token-file=/var/run/podicorn/admin/token"),
            "--admin-token-file=/tmp/x/token"
        );
        assert_eq!(here("shop:app"), "shop:app");
    }
}

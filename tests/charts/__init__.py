"""The Helm charts and deploy/ from outside: as Helm 3, Helm 4, kubectl and a real apiserver see them."""

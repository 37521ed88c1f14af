#!/usr/bin/env bash
# Renders the manifests under deploy/ from the charts. They are never edited: what is to be different is a chart's value or
# an overlay. `render-deploy.sh DIRECTORY` writes there instead, so that a test can compare.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-deploy}
helm=$(dev/helm.sh)/helm4

# render FILE RELEASE CHART ARGUMENTS…: without what only Helm needs to know.
render() {
    local file=$target/$1
    shift
    mkdir -p "$(dirname "$file")"
    {
        echo "# Made from the charts by dev/render-deploy.sh."
        "$helm" template "$1" "charts/$2" --skip-tests "${@:3}" |
            sed -e '/^ *helm\.sh\/chart:/d' -e 's/^\( *app\.kubernetes\.io\/managed-by:\) Helm$/\1 kubectl/' -e '/^\s*$/d'
    } >"$file"
}

operator=(podicorn-operator podicorn-operator --namespace podicorn-system)
render crds/crds.yaml podicorn-crds podicorn-crds --set keep=false
render operator/operator.yaml "${operator[@]}"
render namespaced/operator.yaml "${operator[@]}" --set 'watchNamespaces={apps}'
render monitoring/podmonitor.yaml "${operator[@]}" --set metrics.podMonitor.enabled=true --show-only templates/podmonitor.yaml
render monitoring/prometheusrule.yaml "${operator[@]}" --set metrics.prometheusRule.enabled=true \
    --show-only templates/prometheusrule.yaml
render app/app.yaml shop podicorn --namespace shop --set image.repository=registry.example.com/shop --set-string image.tag=1.0 \
    --set app=shop:app --set fullnameOverride=shop --set nameOverride=shop --set podDisruptionBudget.enabled=true --set replicas=2
cp charts/podicorn-operator/files/dashboard.json charts/podicorn-operator/files/alerts.yaml "$target/monitoring/"

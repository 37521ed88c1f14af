//! One trace leads from the load sample through the decision to the scale span of the pod.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // these are tests; libtest's attribute is not theirs

use std::sync::OnceLock;
use std::time::Duration;

use podicorn_testbed::collector::{Collector, Span};
use podicorn_testbed::operator::Settings;
use podicorn_testbed::suite::{Context, run};
use podicorn_testbed::traffic::Traffic;
use podicorn_testbed::wait::eventually;
use podicorn_testbed::{beds, tests, yaml};

/// The operator and its pods send to the same one.
static COLLECTOR: OnceLock<Collector> = OnceLock::new();

fn main() -> std::process::ExitCode {
    run(
        async || {
            let collector = Collector::start().await?;
            let endpoint = collector.url().to_owned();
            COLLECTOR.get_or_init(|| collector);
            let mut settings = Settings::named("trace");
            settings.arguments = vec!["--tick-seconds=1".to_owned()];
            settings.environment = vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint),
                ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned()),
            ];
            beds::operated(settings).await
        },
        tests![an_order_is_one_trace_from_the_load_to_the_pods_scale_span],
    )
}

async fn an_order_is_one_trace_from_the_load_to_the_pods_scale_span(context: Context) {
    let collector = COLLECTOR.get().unwrap();
    let more = format!(
        "
workers: {{min: 1, max: 4}}
drain: {{delaySeconds: 0}}
autoscaling: {{mode: Workers}}
telemetry: {{otlp: {{endpoint: '{}'}}}}
env: [{{name: OTEL_SERVICE_NAME, value: the-shop}}, {{name: OTEL_BSP_SCHEDULE_DELAY, value: '200'}}]
",
        collector.url()
    );
    context.apply(&yaml::flask("shop", &more)).await.unwrap();
    let app = context.app("shop");
    app.ready().await.unwrap();
    let traffic = Traffic::start(4, app.addresses().await.unwrap(), "/report");
    let trace = eventually("a trace through operator and pod", Duration::from_secs(120), async || {
        let spans = collector.spans();
        whole(&spans).ok_or_else(|| format!("{:?}", names(&spans)))
    })
    .await
    .unwrap();
    traffic.stop().await;
    // The request that reads the load is there as well, before the decision and under the same look at the app.
    let named = |name: &str| trace.iter().find(|span| span.name == name).unwrap();
    let look = named("scale app");
    assert!(look.parent.is_empty(), "{trace:?}");
    for child in ["load sample", "decide", "order"] {
        assert_eq!(named(child).parent, look.id, "{child}: {trace:?}");
    }
    assert!(trace.iter().any(|span| span.service == "podicorn-operator"));
}

/// The spans of a trace in which a pod's `scale` is the child of an order of the operator's.
fn whole(spans: &[Span]) -> Option<Vec<Span>> {
    let scale = spans.iter().find(|span| {
        span.service == "the-shop"
            && span.name == "scale"
            && spans.iter().any(|order| order.name == "order" && order.id == span.parent)
    })?;
    let trace: Vec<Span> = spans.iter().filter(|span| span.trace == scale.trace).cloned().collect();
    // The look ends last and is sent last.
    trace.iter().any(|span| span.name == "scale app").then_some(trace)
}

fn names(spans: &[Span]) -> Vec<(&str, &str)> {
    let mut names: Vec<_> = spans.iter().map(|span| (span.service.as_str(), span.name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

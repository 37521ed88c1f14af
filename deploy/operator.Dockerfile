# The operator: one static program and nothing else. From the root of the checkout:
#
#   docker build --file deploy/operator.Dockerfile --tag podicorn/operator .
ARG RUST_IMAGE=docker.io/library/rust:1.90-trixie

FROM ${RUST_IMAGE} AS build
ENV CARGO_TARGET_DIR=/target CARGO_PROFILE_RELEASE_STRIP=debuginfo
WORKDIR /src
COPY . .
# Linked with glibc's static libraries. The target is named so that what runs during the build is linked as usual.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    target=$(rustc --print host-tuple) \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target "$target" --package podicorn-operator \
    && strip --strip-all -o /podicorn-operator "/target/$target/release/podicorn-operator"

FROM scratch
# For collectors that are spoken to by TLS; the apiserver's certificate comes with the pod.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /podicorn-operator /podicorn-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/podicorn-operator"]
CMD ["run"]

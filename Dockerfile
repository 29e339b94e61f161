# The image of tapedeck: one binary on a slim Debian, run by a user without rights.
#
#   docker build -t tapedeck .
#
# It needs BuildKit, which is Docker's default since 23. DOCKER.md says how to stamp a version, to build for another
# architecture, and what to pass where modules do not come from the public proxy. The base images can be pinned:
#   --build-arg BUILDER_IMAGE=golang:1.26-trixie@sha256:… --build-arg RUNTIME_IMAGE=debian:trixie-slim@sha256:…
ARG BUILDER_IMAGE=golang:1.26-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

FROM ${RUNTIME_IMAGE} AS runtime

# The builder runs on the machine's own architecture and compiles for the target's, so nothing is emulated.
FROM --platform=$BUILDPLATFORM ${BUILDER_IMAGE} AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src

# DuckDB is C++: another architecture wants a cross compiler. toolchain sets CC and CXX; static/ has nothing but
# libstdc++.a, so that the linker finds no shared one there and the runtime image needs none.
RUN set -eu; \
    case "$TARGETARCH" in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; \
    *) echo "DuckDB has no library for linux/$TARGETARCH: amd64 and arm64 can be built" >&2; exit 1 ;; esac; \
    prefix=; \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        prefix=$machine-linux-gnu-; \
        apt-get update -q; \
        apt-get install -y -q --no-install-recommends "g++-$(echo $machine | tr _ -)-linux-gnu" "libc6-dev-$TARGETARCH-cross"; \
    fi; \
    mkdir /build /build/static; \
    echo "export CC=${prefix}gcc CXX=${prefix}g++ GOARCH=$TARGETARCH CGO_ENABLED=1" > /build/toolchain; \
    ln -s "$(${prefix}g++ -print-file-name=libstdc++.a)" /build/static/

# Where modules come from; unset, it is Go's own default. A password for it goes into the secret netrc.
ARG GOPROXY
ARG GOSUMDB
ARG GONOSUMDB
ARG GOPRIVATE
ARG GOFLAGS

# The modules, before the code, so that a change of code fetches nothing. DuckDB's libraries are 30 MB for each platform,
# and only one is wanted.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    go mod download $(awk -v own="/lib/linux-$TARGETARCH" \
        '$2 ~ /^v[0-9]/ && ($1 !~ /\/duckdb-go-bindings\/lib\// || index($1, own)) { print $1 "@" $2 }' go.mod)

COPY . .
ARG VERSION=development
ARG COMMIT=unknown
# DuckDB's Go module asks the linker to export every symbol, for extensions that are loaded at run time. tapedeck loads
# none, and without the exports the linker can leave out what nothing calls: 8 MB.
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    . /build/toolchain && \
    go build -trimpath -buildvcs=false -o /build/tapedeck \
        -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT \
            -extldflags '-L/build/static -static-libgcc -Wl,--no-export-dynamic -Wl,--gc-sections'" \
        ./cmd/tapedeck

# The user, added to the runtime image's own: made here, for the last stage runs nothing and so can be put together for
# any architecture.
COPY --from=runtime /etc/passwd /etc/group /build/etc/
RUN echo 'appuser:x:1000:1000:tapedeck:/app:/usr/sbin/nologin' >> /build/etc/passwd && \
    echo 'appuser:x:1000:' >> /build/etc/group && \
    mkdir -p /build/app/data && chown 1000:1000 /build/app/data

FROM runtime
ARG RUNTIME_IMAGE
ARG VERSION=development
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="tapedeck" \
      org.opencontainers.image.description="Records the trade tape of Binance's spot market to Parquet and runs backfill, detection and reports over it" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.base.name="$RUNTIME_IMAGE"

COPY --from=build /build/etc/passwd /build/etc/group /etc/
# What TLS connections are checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/app /app
COPY --from=build /build/tapedeck /usr/local/bin/tapedeck
# Defaults; mount your own over them.
COPY config.yaml crontab.yaml /app/

WORKDIR /app
USER 1000:1000
VOLUME /app/data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=45s --retries=3 CMD ["tapedeck", "health"]
ENTRYPOINT ["/usr/local/bin/tapedeck"]
CMD ["run"]

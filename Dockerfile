# The image of tapedeck: two binaries on a slim Debian, run by an unprivileged user.
#
#   docker build -t tapedeck .
#
# It needs BuildKit, the default since Docker 23. DOCKER.md explains how to set the version, build for
# another architecture, and use another module proxy. The base images can be pinned:
#   --build-arg BUILDER_IMAGE=golang:1.26-trixie@sha256:… --build-arg RUNTIME_IMAGE=debian:trixie-slim@sha256:…
ARG BUILDER_IMAGE=golang:1.26-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

FROM ${RUNTIME_IMAGE} AS runtime

# The builder runs on the machine's own architecture and cross-compiles, so nothing is emulated.
FROM --platform=$BUILDPLATFORM ${BUILDER_IMAGE} AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src

# DuckDB is C++, so another architecture needs a cross compiler. toolchain sets CC and CXX. static/
# contains only libstdc++.a, so that the linker links it statically and the runtime image does not need
# the shared library.
RUN set -eu; \
    case "$TARGETARCH" in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; \
    *) echo "DuckDB has no library for linux/$TARGETARCH: build for amd64 or arm64" >&2; exit 1 ;; esac; \
    prefix=; \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        prefix=$machine-linux-gnu-; \
        apt-get update -q; \
        apt-get install -y -q --no-install-recommends "g++-$(echo $machine | tr _ -)-linux-gnu" "libc6-dev-$TARGETARCH-cross"; \
    fi; \
    mkdir /build /build/static; \
    echo "export CC=${prefix}gcc CXX=${prefix}g++ GOARCH=$TARGETARCH CGO_ENABLED=1" > /build/toolchain; \
    ln -s "$(${prefix}g++ -print-file-name=libstdc++.a)" /build/static/

# The module proxy; Go's default if not set. Its password belongs in the secret netrc.
ARG GOPROXY
ARG GOSUMDB
ARG GONOSUMDB
ARG GOPRIVATE
ARG GOFLAGS

# Modules are downloaded before the code is copied, so that a change of code does not download them
# again. DuckDB's libraries have 30 MB per platform, and only one platform is needed.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    go mod download $(awk -v own="/lib/linux-$TARGETARCH" \
        '$2 ~ /^v[0-9]/ && ($1 !~ /\/duckdb-go-bindings\/lib\// || index($1, own)) { print $1 "@" $2 }' go.mod)

COPY . .
ARG VERSION=development
ARG COMMIT=unknown
# DuckDB's Go module makes the linker export every symbol, for extensions loaded at run time. tapedeck
# loads none. Without the exports the linker removes unused code, which saves 8 MB.
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    . /build/toolchain && \
    go build -trimpath -buildvcs=false -o /build/tapedeck \
        -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT \
            -extldflags '-L/build/static -static-libgcc -Wl,--no-export-dynamic -Wl,--gc-sections'" \
        ./cmd/tapedeck && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /build/tapedeck-lake -ldflags "-s -w" ./cmd/tapedeck-lake

# The user, added to those of the runtime image. It is created here because the last stage runs no
# command, so that it can be assembled for any architecture.
COPY --from=runtime /etc/passwd /etc/group /build/etc/
RUN echo 'appuser:x:1000:1000:tapedeck:/app:/usr/sbin/nologin' >> /build/etc/passwd && \
    echo 'appuser:x:1000:' >> /build/etc/group && \
    mkdir -p /build/app/data && chown 1000:1000 /build/app/data

# The runtime image without glibc's converters of character sets (8 MB), which nothing here uses.
COPY --from=runtime / /build/root/
RUN rm -rf /build/root/usr/lib/*/gconv

FROM scratch
ARG RUNTIME_IMAGE
ARG VERSION=development
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="tapedeck" \
      org.opencontainers.image.description="Records the trade tape of Binance's spot market to Parquet and runs backfill, detection and reports over it" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.base.name="$RUNTIME_IMAGE"

COPY --from=build /build/root/ /
COPY --from=build /build/etc/passwd /build/etc/group /etc/
# Certificates for TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/app /app
COPY --from=build /build/tapedeck /build/tapedeck-lake /usr/local/bin/
# Defaults; mount your own files over them.
COPY config.yaml crontab.yaml /app/

ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /app
USER 1000:1000
VOLUME /app/data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=45s --retries=3 CMD ["tapedeck", "health"]
ENTRYPOINT ["/usr/local/bin/tapedeck"]
CMD ["run"]

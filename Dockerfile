# syntax=docker/dockerfile:1

# The builder runs on the machine's own platform and cross-compiles, which needs no emulation.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=dev
ENV GOCACHE=/go/build-cache
# No `go mod download` before it: modules go to the cache mount, which outlives every layer, and the build
# fetches only those that the program needs.
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/go/build-cache \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /webhook-worker ./cmd/webhook-worker

# CA certificates and time zones, but no shell: a healthcheck has to be a command of the program.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=dev
LABEL org.opencontainers.image.title="webhook-worker" \
      org.opencontainers.image.description="Delivers webhooks from PostgreSQL, signed and retried, with every attempt on record" \
      org.opencontainers.image.source="https://github.com/epicvoice/webhook-worker" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /webhook-worker /webhook-worker
# By number, so that Kubernetes' runAsNonRoot can tell. It is distroless's "nonroot".
USER 65532:65532
ENTRYPOINT ["/webhook-worker"]
CMD ["--help"]

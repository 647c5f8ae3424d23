# syntax=docker/dockerfile:1
#
#   docker build --build-arg VERSION=v1.2.3 -t holdfast:v1.2.3 .

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=""
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/cache \
    GOCACHE=/cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w -X holdfast.dev/holdfast/cli.version=$VERSION" -o /out/holdfast .

# Nothing but the binary: it talks to the API server alone, whose CA it is given with its ServiceAccount.
FROM scratch
COPY --from=build /out/holdfast /holdfast
USER 65532:65532
EXPOSE 9443 8080 8081
ENTRYPOINT ["/holdfast"]

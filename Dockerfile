# Edgeprove's production image: only the server, bb, the CRS, a default circuit and glibc. `--target builder` is the image
# that also builds circuits from templates: the same with Node.js and the pinned compilers.
# docs/DOCKER.md describes how to build and run them. `cargo xtask images` builds them even if no image can be pulled.
#
# There is no `# syntax=` line: every build would pull a frontend, but the engine's own is sufficient.

# The stage or the image with the program: `cargo xtask images --server` names another one.
ARG SERVER=server
# `with`: the page of the image can also prove in the browser. docs/DOCKER.md has the size of it.
ARG PAGE_LOCAL=without

# ---- the server ------------------------------------------------------------------------------------------------------
# The builder's own architecture compiles: an emulated compiler takes many times as long.
FROM --platform=$BUILDPLATFORM rust:1.95-slim-trixie AS server
ARG TARGETARCH
ARG BUILDARCH
RUN if [ $TARGETARCH != $BUILDARCH ]; then \
      machine=$(echo $TARGETARCH | sed 's/amd64/x86_64/; s/arm64/aarch64/') \
      && apt-get update \
      && apt-get install --yes --no-install-recommends \
           gcc-$(echo $machine | tr _ -)-linux-gnu libc6-dev-$TARGETARCH-cross \
      && rm -rf /var/lib/apt/lists/* \
      && rustup target add $machine-unknown-linux-gnu; \
    fi
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
WORKDIR /src
COPY . .
RUN --mount=type=cache,id=edgeprove-cargo,target=/usr/local/cargo/registry \
    --mount=type=cache,id=edgeprove-release-$BUILDARCH,target=/src/target,sharing=locked \
    target=$(echo $TARGETARCH | sed 's/amd64/x86_64/; s/arm64/aarch64/')-unknown-linux-gnu \
 && cargo build --locked --release --package edgeprove --target $target \
 && install -D target/$target/release/edgeprove /out/edgeprove

# ---- npm, on the builder's architecture ------------------------------------------------------------------------------
FROM --platform=$BUILDPLATFORM rust:1.95-slim-trixie AS npm
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*

# ---- bb, the CRS and the circuits: fetched by the builder's architecture for the image's ----------------------------
FROM npm AS tools
WORKDIR /src
COPY . .
ARG TARGETARCH
ARG BUILDARCH
# The number of CRS points, 64 bytes each; a circuit of size N needs N. Package registries have only 4097.
ARG CRS_POINTS=32769
RUN --mount=type=cache,id=edgeprove-cargo,target=/usr/local/cargo/registry \
    --mount=type=cache,id=edgeprove-xtask-$BUILDARCH,target=/src/target,sharing=locked \
    --mount=type=cache,id=edgeprove-npm,target=/npm \
    --mount=type=cache,id=edgeprove-setup-$TARGETARCH,target=/setup,sharing=locked \
    npm_config_cache=/npm cargo xtask setup --only bb,crs,circuits --platform linux-$TARGETARCH --home /setup \
      --circuits-dir /setup/circuits --crs-dir /setup/crs-$CRS_POINTS --crs-points $CRS_POINTS \
 && install -D /setup/bb/*/bb /out/bb \
 && install -D --mode=0644 /setup/circuits/range_check.json /out/circuit.json \
 && cp -r /setup/crs-$CRS_POINTS /out/crs

# ---- what a page loads to prove in the browser, for PAGE_LOCAL=with ---------------------------------------------------
FROM npm AS page-local
WORKDIR /src/web/sdk
COPY web/sdk/package.json web/sdk/package-lock.json web/sdk/.npmrc ./
RUN --mount=type=cache,id=edgeprove-npm,target=/npm \
    npm_config_cache=/npm npm ci --no-fund --no-audit
COPY web/sdk/src src
COPY web/page/scripts/local_prover.mjs ../page/scripts/
COPY --from=tools /out/crs /crs
# The script needs esbuild, which the packages of the client have, too.
RUN ln -s ../sdk/node_modules ../page/node_modules && node ../page/scripts/local_prover.mjs /out /crs

# ---- the files that a dynamically linked program needs ---------------------------------------------------------------
FROM debian:trixie-slim AS libc
WORKDIR /minimal
# Vulnerability scanners read the packages' status. The packages' licences require the copyright files.
RUN install -d --mode=0700 /owned/data \
 && mkdir -p app/circuits etc tmp usr/lib usr/lib64 var/lib/dpkg/status.d \
 && chmod 1777 tmp \
 && ln -s usr/lib lib && ln -s usr/lib64 lib64 \
 && for package in libc6 libgcc-s1; do \
      dpkg-query --status $package > var/lib/dpkg/status.d/$package \
      && dpkg-query --listfiles $package; \
    done \
    | grep -E '/(ld-linux[^/]*|libc\.so\.6|libm\.so\.6|libgcc_s\.so\.1)$' \
    | xargs cp --parents --no-dereference --preserve=timestamps --target-directory=. \
 && cp --parents --no-dereference /etc/os-release /usr/lib/os-release \
      /usr/share/doc/libc6/copyright /usr/share/doc/gcc-*-base/copyright . \
 && printf 'root:x:0:0::/:/sbin/nologin\nedgeprove:x:10001:10001::/tmp:/sbin/nologin\n' > etc/passwd \
 && printf 'root:x:0:\nedgeprove:x:10001:\n' > etc/group \
 && printf 'hosts: files dns\n' > etc/nsswitch.conf

# ---- the compilers of the builder: scripts and WebAssembly, the same for every architecture --------------------------
FROM npm AS toolchain
WORKDIR /toolchain
COPY circuit/package.json circuit/package-lock.json circuit/.npmrc circuit/compile_program.mjs circuit/noir.mjs ./
COPY circuit/circom/package.json circuit/circom/package-lock.json circuit/circom/.npmrc \
     circuit/circom/solc.mjs circuit/circom/evm.mjs circom/
RUN --mount=type=cache,id=edgeprove-npm,target=/npm \
    npm_config_cache=/npm npm ci --omit=dev --no-fund --no-audit \
 && cd circom && npm_config_cache=/npm npm ci --omit=dev --no-fund --no-audit

# ---- Node.js, and what the sandbox of the compilers starts them with -------------------------------------------------
FROM debian:trixie-slim AS node
RUN apt-get update \
 && apt-get install --yes --no-install-recommends nodejs \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /minimal
# Debian's Node.js reads some of its own modules from /usr/share/nodejs. `ldd` prints `NAME => FILE (ADDRESS)`.
RUN mkdir -p usr/bin var/lib/dpkg/status.d \
 && programs="/usr/bin/node /usr/bin/dash /usr/bin/unshare" \
 && libraries=$(ldd $programs | sed -nE 's/.* => (\/[^ ]+) .*/\1/p' | sed 's/^\/lib/\/usr\/lib/' | sort --unique) \
 && cp --parents --dereference $programs $libraries . \
 && ln -s dash usr/bin/sh && ln -s usr/bin bin \
 && cp --parents --recursive --no-dereference /usr/share/nodejs . \
 && for file in $programs $libraries; do \
      dpkg-query --search $(realpath $file) | cut --delimiter=: --fields=1; \
    done | sort --unique | while read package; do \
      dpkg-query --status $package > var/lib/dpkg/status.d/$package \
      && cp --parents --dereference /usr/share/doc/$package/copyright .; \
    done

# ---- the image -------------------------------------------------------------------------------------------------------
FROM $SERVER AS program

FROM scratch AS runtime
COPY --from=libc /minimal /
# A new volume at /data gets this owner, so the server can write jobs to it.
COPY --from=libc --chown=10001:10001 /owned /
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/edgeprove/
COPY --from=tools /out/bb /usr/local/bin/bb
COPY --from=tools /out/crs /opt/crs
COPY --from=tools /out/circuit.json /app/circuit.json
COPY --from=program /out/edgeprove /usr/local/bin/edgeprove
# `docker stop` sends SIGKILL after 10 s by default: a longer EDGEPROVE_DRAIN needs a longer `docker stop -t`.
ENV PATH=/usr/local/bin \
    HOME=/tmp \
    BB_PATH=/usr/local/bin/bb \
    CRS_PATH=/opt/crs \
    EDGEPROVE_LISTEN=0.0.0.0:8080 \
    EDGEPROVE_CIRCUIT=/app/circuit.json \
    EDGEPROVE_CIRCUITS=/app/circuits \
    EDGEPROVE_CACHE_DIR=/app/keys \
    EDGEPROVE_DATA=/data \
    EDGEPROVE_SPOOL_DIR=/tmp/edgeprove \
    EDGEPROVE_DRAIN=9s \
    EDGEPROVE_LOG_FORMAT=json

FROM runtime AS runtime-without

FROM runtime AS runtime-with
COPY --from=page-local /out /opt/page-local
ENV EDGEPROVE_PAGE_LOCAL=/opt/page-local

# The programs of this image compute the keys, so the build fails if they cannot run.
FROM runtime AS keys
RUN ["edgeprove", "warm"]

FROM runtime-$PAGE_LOCAL AS builder
COPY --from=node /minimal /
COPY --from=toolchain /toolchain /opt/toolchain
# The files of a build are in the cache folder. A container without further rights cannot make namespaces, so a compiler is
# separated as a group of processes only.
ENV PATH=/usr/local/bin:/usr/bin \
    EDGEPROVE_CACHE_DIR=/tmp/cache \
    EDGEPROVE_TOOLCHAIN=/opt/toolchain \
    EDGEPROVE_BUILDER_ISOLATION=process-group
LABEL org.opencontainers.image.title="edgeprove, with compilers" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["edgeprove", "healthcheck"]
ENTRYPOINT ["edgeprove"]
CMD ["serve"]

FROM runtime-$PAGE_LOCAL
COPY --from=keys /app/keys /app/keys
LABEL org.opencontainers.image.title="edgeprove" \
      org.opencontainers.image.description="Server-side zero-knowledge proving: a witness goes in, a verified proof comes out" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["edgeprove", "healthcheck"]
ENTRYPOINT ["edgeprove"]
CMD ["serve"]

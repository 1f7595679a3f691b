# docker build -t labnet . && docker run --rm --privileged labnet up eks-2node      (Ctrl-C takes the lab down)
FROM debian:12
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      make iptables nftables iproute2 iputils-ping procps python3-venv libpcap0.8 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make install SUDO= && rm -rf /src
WORKDIR /
ENTRYPOINT ["/usr/local/bin/labnet"]
CMD ["--help"]

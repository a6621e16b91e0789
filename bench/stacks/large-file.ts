/** A stack file as long as `count` services make it, each with most of what services have. */
export function largeFile(count: number): string {
  const volumes = Array.from({ length: 10 }, (_, i) => `  data-${i}: {}\n`).join('');
  const services = Array.from({ length: count }, (_, i) => service(i, count)).join('');
  return `services:\n${services}networks: {mesh: {}}\nvolumes:\n${volumes}`;
}

function service(i: number, count: number): string {
  return `  svc-${i}:
    image: registry.example.com/team${i % 7}/svc:${i}.0
    environment: {INDEX: "${i}", PEER: "svc-${(i + 1) % count}:8080", TAG: "$\{TAG:-latest}"}
    ports: ["${20_000 + i}:80"]
    networks: [mesh]
    volumes: ["data-${i % 10}:/data", "./conf:/conf:ro"]
    healthcheck: {test: curl -f localhost, interval: 10s}
    deploy: {replicas: ${i % 5}, placement: {constraints: ["node.labels.rack == r${i % 4}"]}}
`;
}

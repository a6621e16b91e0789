import * as v from 'valibot';

/**
 * What a user writes of a service: the Docker Engine API's `ServiceSpec` (API 1.41, with the additions up to 1.48),
 * kept verbatim. Durations are nanoseconds, memory and sizes bytes, CPUs billionths of one.
 */

const text = v.string();
const flag = v.boolean();
const int = v.pipe(v.number(), v.safeInteger());
const uint = v.pipe(int, v.minValue(0));
const strings = v.array(text);
const labels = v.record(text, text);
const opt = v.optional;

const Driver = v.strictObject({ Name: opt(text), Options: opt(labels) });

const HealthConfig = v.strictObject({
  Test: opt(strings),
  Interval: opt(int),
  Timeout: opt(int),
  StartPeriod: opt(int),
  StartInterval: opt(int),
  Retries: opt(int),
});

const Mount = v.strictObject({
  Type: opt(text),
  Source: opt(text),
  Target: opt(text),
  ReadOnly: opt(flag),
  Consistency: opt(text),
  BindOptions: opt(
    v.strictObject({
      Propagation: opt(text),
      NonRecursive: opt(flag),
      CreateMountpoint: opt(flag),
      ReadOnlyNonRecursive: opt(flag),
      ReadOnlyForceRecursive: opt(flag),
    }),
  ),
  VolumeOptions: opt(
    v.strictObject({ NoCopy: opt(flag), Labels: opt(labels), DriverConfig: opt(Driver), Subpath: opt(text) }),
  ),
  TmpfsOptions: opt(v.strictObject({ SizeBytes: opt(int), Mode: opt(uint), Options: opt(v.array(strings)) })),
  ClusterOptions: opt(v.strictObject({})),
  ImageOptions: opt(v.strictObject({ Subpath: opt(text) })),
});

const FileTarget = v.strictObject({ Name: opt(text), UID: opt(text), GID: opt(text), Mode: opt(uint) });

const Privileges = v.strictObject({
  CredentialSpec: v.nullish(v.strictObject({ Config: opt(text), File: opt(text), Registry: opt(text) })),
  SELinuxContext: v.nullish(
    v.strictObject({ Disable: opt(flag), User: opt(text), Role: opt(text), Type: opt(text), Level: opt(text) }),
  ),
  Seccomp: opt(v.strictObject({ Mode: opt(text), Profile: opt(text) })),
  AppArmor: opt(v.strictObject({ Mode: opt(text) })),
  NoNewPrivileges: opt(flag),
});

const ContainerSpec = v.strictObject({
  Image: opt(text),
  Labels: opt(labels),
  Command: opt(strings),
  Args: opt(strings),
  Hostname: opt(text),
  Env: opt(strings),
  Dir: opt(text),
  User: opt(text),
  Groups: opt(strings),
  Privileges: opt(Privileges),
  Init: opt(flag),
  StopSignal: opt(text),
  TTY: opt(flag),
  OpenStdin: opt(flag),
  ReadOnly: opt(flag),
  Mounts: opt(v.array(Mount)),
  StopGracePeriod: opt(int),
  Healthcheck: opt(HealthConfig),
  Hosts: opt(strings),
  DNSConfig: opt(v.strictObject({ Nameservers: opt(strings), Search: opt(strings), Options: opt(strings) })),
  Secrets: opt(v.array(v.strictObject({ File: opt(FileTarget), SecretID: opt(text), SecretName: opt(text) }))),
  Configs: opt(
    v.array(
      v.strictObject({
        File: opt(FileTarget),
        Runtime: opt(v.strictObject({})),
        ConfigID: opt(text),
        ConfigName: opt(text),
      }),
    ),
  ),
  Isolation: opt(text),
  Sysctls: opt(labels),
  CapabilityAdd: opt(strings),
  CapabilityDrop: opt(strings),
  Ulimits: opt(v.array(v.strictObject({ Name: opt(text), Soft: opt(int), Hard: opt(int) }))),
  OomScoreAdj: opt(int),
});

const GenericResource = v.strictObject({
  NamedResourceSpec: opt(v.strictObject({ Kind: opt(text), Value: opt(text) })),
  DiscreteResourceSpec: opt(v.strictObject({ Kind: opt(text), Value: opt(int) })),
});

const Resources = v.strictObject({
  Limits: opt(v.strictObject({ NanoCPUs: opt(int), MemoryBytes: opt(int), Pids: opt(int) })),
  Reservations: opt(
    v.strictObject({ NanoCPUs: opt(int), MemoryBytes: opt(int), GenericResources: opt(v.array(GenericResource)) }),
  ),
});

const RestartPolicy = v.strictObject({
  Condition: opt(text),
  Delay: opt(int),
  MaxAttempts: opt(uint),
  Window: opt(int),
});

const Placement = v.strictObject({
  Constraints: opt(strings),
  Preferences: opt(v.array(v.strictObject({ Spread: opt(v.strictObject({ SpreadDescriptor: opt(text) })) }))),
  MaxReplicas: opt(uint),
  Platforms: opt(v.array(v.strictObject({ Architecture: opt(text), OS: opt(text) }))),
});

const NetworkAttachment = v.strictObject({ Target: opt(text), Aliases: opt(strings), DriverOpts: opt(labels) });

const TaskTemplate = v.strictObject({
  ContainerSpec: opt(ContainerSpec),
  PluginSpec: opt(v.looseObject({})),
  NetworkAttachmentSpec: opt(v.looseObject({})),
  Resources: opt(Resources),
  RestartPolicy: opt(RestartPolicy),
  Placement: opt(Placement),
  ForceUpdate: opt(uint),
  Runtime: opt(text),
  Networks: opt(v.array(NetworkAttachment)),
  LogDriver: opt(Driver),
});

const UpdateConfig = v.strictObject({
  Parallelism: opt(uint),
  Delay: opt(int),
  FailureAction: opt(text),
  Monitor: opt(int),
  MaxFailureRatio: opt(v.number()),
  Order: opt(text),
});

const ServiceMode = v.strictObject({
  Replicated: opt(v.strictObject({ Replicas: opt(uint) })),
  Global: opt(v.strictObject({})),
  ReplicatedJob: opt(v.strictObject({ MaxConcurrent: opt(uint), TotalCompletions: opt(uint) })),
  GlobalJob: opt(v.strictObject({})),
});

const PortConfig = v.strictObject({
  Name: opt(text),
  Protocol: opt(text),
  TargetPort: opt(uint),
  PublishedPort: opt(uint),
  PublishMode: opt(text),
  /** Ours: at which address of a host, by default at all. Docker's has no such field, and leaves it out where it rewrites a spec. */
  HostIP: opt(text),
});

const EndpointSpec = v.strictObject({ Mode: opt(text), Ports: opt(v.array(PortConfig)) });

export const ServiceSpecSchema = v.strictObject({
  Name: opt(text),
  Labels: opt(labels),
  TaskTemplate: opt(TaskTemplate, {}),
  Mode: opt(ServiceMode),
  UpdateConfig: opt(UpdateConfig),
  RollbackConfig: opt(UpdateConfig),
  Networks: opt(v.array(NetworkAttachment)),
  EndpointSpec: opt(EndpointSpec),
});

export type ServiceSpec = v.InferOutput<typeof ServiceSpecSchema>;
export type TaskTemplate = v.InferOutput<typeof TaskTemplate>;
export type ContainerSpec = v.InferOutput<typeof ContainerSpec>;
export type GenericResource = v.InferOutput<typeof GenericResource>;
export type HealthConfig = v.InferOutput<typeof HealthConfig>;
export type Mount = v.InferOutput<typeof Mount>;
export type Resources = v.InferOutput<typeof Resources>;
export type RestartPolicy = v.InferOutput<typeof RestartPolicy>;
export type Placement = v.InferOutput<typeof Placement>;
export type UpdateConfig = v.InferOutput<typeof UpdateConfig>;
export type EndpointSpec = v.InferOutput<typeof EndpointSpec>;
export type PortConfig = v.InferOutput<typeof PortConfig>;

import type {
  ContainerSpec,
  EndpointSpec,
  HealthConfig,
  Mount,
  Placement,
  PortConfig,
  Resources,
  RestartPolicy,
  ServiceSpec,
  TaskTemplate,
  UpdateConfig,
} from '@apiary/api/model';
import { filled } from './timestamp.js';

/**
 * A spec as Docker Swarm gives it back: without what is empty, and with what it fills in itself (`Isolation`,
 * `ForceUpdate`, the replicas, an update's order...). A key that Docker's engine keeps by pointer stays even when its
 * value is zero or empty (`Init`, `StopGracePeriod`, `Resources`, ...): clients tell `{}` from absent.
 */
export function serviceSpecObject(spec: ServiceSpec): ServiceSpec {
  const template = taskTemplateObject(spec.TaskTemplate);
  const networks = filled(spec.Networks)?.map(networkObject);
  return {
    Name: filled(spec.Name),
    Labels: spec.Labels ?? {},
    TaskTemplate: {
      ...template,
      Networks: template.Networks ?? networks,
      Runtime: spec.TaskTemplate.Runtime ?? 'container',
    },
    Mode: modeObject(spec.Mode),
    UpdateConfig: mapped(spec.UpdateConfig, updateConfigObject),
    RollbackConfig: mapped(spec.RollbackConfig, updateConfigObject),
    Networks: networks,
    EndpointSpec: mapped(spec.EndpointSpec, endpointSpecObject),
  };
}

const SECOND_NS = 1_000_000_000;
const DEFAULT_UPDATE_CONFIG: UpdateConfig = {
  Parallelism: 1,
  FailureAction: 'pause',
  Monitor: 5 * SECOND_NS,
  MaxFailureRatio: 0,
  Order: 'stop-first',
};

/** `spec`, as `serviceSpecObject` returns it, with the defaults of what it leaves open: `?insertDefaults=true`. */
export function withDefaults(spec: ServiceSpec): ServiceSpec {
  const template = spec.TaskTemplate;
  return {
    ...spec,
    TaskTemplate: {
      ...template,
      ContainerSpec: mapped(template.ContainerSpec, (container) => ({
        ...container,
        StopGracePeriod: container.StopGracePeriod ?? 10 * SECOND_NS,
        DNSConfig: container.DNSConfig ?? {},
      })),
      Resources: template.Resources ?? {},
      RestartPolicy: {
        Condition: template.RestartPolicy?.Condition ?? 'any',
        Delay: template.RestartPolicy?.Delay ?? 5 * SECOND_NS,
        MaxAttempts: template.RestartPolicy?.MaxAttempts ?? 0,
        Window: template.RestartPolicy?.Window,
      },
      Placement: template.Placement ?? {},
    },
    UpdateConfig: updateConfigWithDefaults(spec.UpdateConfig),
    RollbackConfig: updateConfigWithDefaults(spec.RollbackConfig),
  };
}

function updateConfigWithDefaults(config: UpdateConfig | undefined): UpdateConfig {
  if (config === undefined) return DEFAULT_UPDATE_CONFIG;
  return { ...config, Monitor: config.Monitor ?? DEFAULT_UPDATE_CONFIG.Monitor };
}

/** A task's spec: the same, without the runtime. */
export function taskTemplateObject(template: TaskTemplate): TaskTemplate {
  return {
    ContainerSpec: mapped(template.ContainerSpec, containerSpecObject),
    PluginSpec: template.PluginSpec,
    NetworkAttachmentSpec: template.NetworkAttachmentSpec,
    Resources: mapped(template.Resources, resourcesObject),
    RestartPolicy: mapped(template.RestartPolicy, restartPolicyObject),
    Placement: mapped(template.Placement, placementObject),
    LogDriver: mapped(template.LogDriver, driverObject),
    Networks: filled(template.Networks)?.map(networkObject),
    ForceUpdate: template.ForceUpdate ?? 0,
  };
}

/** An endpoint's spec. The mode of one that says none is `vip`. */
export function endpointSpecObject(spec: EndpointSpec): EndpointSpec {
  return { Mode: filled(spec.Mode) ?? 'vip', Ports: filled(spec.Ports)?.map(portObject) };
}

export function portObject(port: PortConfig): PortConfig {
  return {
    Name: filled(port.Name),
    Protocol: filled(port.Protocol) ?? 'tcp',
    TargetPort: filled(port.TargetPort),
    PublishedPort: filled(port.PublishedPort),
    PublishMode: filled(port.PublishMode) ?? 'ingress',
    HostIP: filled(port.HostIP),
  };
}

function containerSpecObject(spec: ContainerSpec): ContainerSpec {
  return {
    Image: filled(spec.Image),
    Labels: filled(spec.Labels),
    Command: filled(spec.Command),
    Args: filled(spec.Args),
    Hostname: filled(spec.Hostname),
    Env: filled(spec.Env),
    Dir: filled(spec.Dir),
    User: filled(spec.User),
    Groups: filled(spec.Groups),
    Privileges: mapped(spec.Privileges, privilegesObject),
    Init: spec.Init,
    StopSignal: filled(spec.StopSignal),
    TTY: filled(spec.TTY),
    OpenStdin: filled(spec.OpenStdin),
    ReadOnly: filled(spec.ReadOnly),
    Mounts: filled(spec.Mounts)?.map(mountObject),
    StopGracePeriod: spec.StopGracePeriod,
    Healthcheck: mapped(spec.Healthcheck, healthcheckObject),
    Hosts: filled(spec.Hosts),
    DNSConfig: mapped(spec.DNSConfig, (dns) => ({
      Nameservers: filled(dns.Nameservers),
      Search: filled(dns.Search),
      Options: filled(dns.Options),
    })),
    Secrets: filled(spec.Secrets),
    Configs: filled(spec.Configs),
    Isolation: filled(spec.Isolation) ?? 'default',
    Sysctls: filled(spec.Sysctls),
    CapabilityAdd: filled(spec.CapabilityAdd),
    CapabilityDrop: filled(spec.CapabilityDrop),
    Ulimits: filled(spec.Ulimits)?.map((ulimit) => ({
      Name: ulimit.Name ?? '',
      Hard: ulimit.Hard ?? 0,
      Soft: ulimit.Soft ?? 0,
    })),
    OomScoreAdj: filled(spec.OomScoreAdj),
  };
}

/** Docker writes the first two also when there are none: as null. */
function privilegesObject(privileges: NonNullable<ContainerSpec['Privileges']>): ContainerSpec['Privileges'] {
  const { CredentialSpec: credential = null, SELinuxContext: context = null } = privileges;
  return {
    CredentialSpec: credential && {
      Config: credential.Config ?? '',
      File: credential.File ?? '',
      Registry: credential.Registry ?? '',
    },
    SELinuxContext: context && {
      Disable: context.Disable ?? false,
      User: context.User ?? '',
      Role: context.Role ?? '',
      Type: context.Type ?? '',
      Level: context.Level ?? '',
    },
    Seccomp: privileges.Seccomp,
    AppArmor: privileges.AppArmor,
    NoNewPrivileges: filled(privileges.NoNewPrivileges),
  };
}

function healthcheckObject(check: HealthConfig): HealthConfig {
  return {
    Test: filled(check.Test),
    Interval: filled(check.Interval),
    Timeout: filled(check.Timeout),
    StartPeriod: filled(check.StartPeriod),
    StartInterval: filled(check.StartInterval),
    Retries: filled(check.Retries),
  };
}

/** `Consistency` means nothing on Linux: Docker does not give it back either. One without a type is a bind. */
function mountObject(mount: Mount): Mount {
  return {
    Type: filled(mount.Type) ?? 'bind',
    Source: filled(mount.Source),
    Target: filled(mount.Target),
    ReadOnly: filled(mount.ReadOnly),
    BindOptions: bindOptionsObject(mount.BindOptions),
    VolumeOptions: mapped(mount.VolumeOptions, (options) => ({
      NoCopy: filled(options.NoCopy),
      Labels: filled(options.Labels),
      DriverConfig: mapped(options.DriverConfig, driverObject),
      Subpath: filled(options.Subpath),
    })),
    TmpfsOptions: mapped(mount.TmpfsOptions, (options) => ({
      SizeBytes: filled(options.SizeBytes),
      Mode: filled(options.Mode),
      Options: filled(options.Options),
    })),
    ClusterOptions: mount.ClusterOptions,
    ImageOptions: mount.ImageOptions,
  };
}

function bindOptionsObject(options: Mount['BindOptions']): Mount['BindOptions'] {
  if (options === undefined) return undefined;
  const object = {
    Propagation: filled(options.Propagation),
    NonRecursive: filled(options.NonRecursive),
    CreateMountpoint: filled(options.CreateMountpoint),
    ReadOnlyNonRecursive: filled(options.ReadOnlyNonRecursive),
    ReadOnlyForceRecursive: filled(options.ReadOnlyForceRecursive),
  };
  if (Object.values(object).every((value) => value === undefined)) return undefined;
  return { ...object, Propagation: object.Propagation ?? 'rprivate' };
}

function resourcesObject(resources: Resources): Resources {
  return {
    Limits: mapped(resources.Limits, (limits) => ({
      NanoCPUs: filled(limits.NanoCPUs),
      MemoryBytes: filled(limits.MemoryBytes),
      Pids: filled(limits.Pids),
    })),
    Reservations: mapped(resources.Reservations, (reservations) => ({
      NanoCPUs: filled(reservations.NanoCPUs),
      MemoryBytes: filled(reservations.MemoryBytes),
      GenericResources: filled(reservations.GenericResources),
    })),
  };
}

function restartPolicyObject(policy: RestartPolicy): RestartPolicy {
  return {
    Condition: filled(policy.Condition) ?? 'any',
    Delay: policy.Delay,
    MaxAttempts: policy.MaxAttempts ?? 0,
    Window: policy.Window,
  };
}

function placementObject(placement: Placement): Placement {
  return {
    Constraints: filled(placement.Constraints),
    Preferences: filled(placement.Preferences),
    MaxReplicas: filled(placement.MaxReplicas),
    Platforms: filled(placement.Platforms)?.map((platform) => ({
      Architecture: filled(platform.Architecture),
      OS: filled(platform.OS),
    })),
  };
}

function driverObject(driver: NonNullable<TaskTemplate['LogDriver']>): NonNullable<TaskTemplate['LogDriver']> {
  return { Name: filled(driver.Name), Options: filled(driver.Options) };
}

type NetworkAttachment = NonNullable<ServiceSpec['Networks']>[number];

function networkObject(network: NetworkAttachment): NetworkAttachment {
  return {
    Target: filled(network.Target),
    Aliases: filled(network.Aliases),
    DriverOpts: filled(network.DriverOpts),
  };
}

function updateConfigObject(config: UpdateConfig): UpdateConfig {
  return {
    Parallelism: config.Parallelism ?? 0,
    Delay: filled(config.Delay),
    FailureAction: filled(config.FailureAction) ?? 'pause',
    Monitor: filled(config.Monitor),
    MaxFailureRatio: config.MaxFailureRatio ?? 0,
    Order: filled(config.Order) ?? 'stop-first',
  };
}

function modeObject(mode: ServiceSpec['Mode']): ServiceSpec['Mode'] {
  if (mode?.Global !== undefined) return { Global: {} };
  if (mode?.GlobalJob !== undefined) return { GlobalJob: {} };
  if (mode?.ReplicatedJob !== undefined) {
    const { MaxConcurrent = 1, TotalCompletions = MaxConcurrent } = mode.ReplicatedJob;
    return { ReplicatedJob: { MaxConcurrent, TotalCompletions } };
  }
  return { Replicated: { Replicas: mode?.Replicated?.Replicas ?? 1 } };
}

function mapped<T, R>(value: T | undefined, map: (value: T) => R): R | undefined {
  return value === undefined ? undefined : map(value);
}

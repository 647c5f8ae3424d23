package vaultinjector

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// agentConfig is the agent's configuration file, base64 in VAULT_CONFIG. The order of
// the fields is that of the recordings.
type agentConfig struct {
	AutoAuth       autoAuth       `json:"auto_auth"`
	ExitAfterAuth  bool           `json:"exit_after_auth"`
	PidFile        string         `json:"pid_file"`
	Vault          vaultConfig    `json:"vault"`
	Templates      []template     `json:"template,omitempty"`
	TemplateConfig templateConfig `json:"template_config"`
}

type autoAuth struct {
	Method method `json:"method"`
	Sinks  []sink `json:"sink"`
}

type method struct {
	Type      string            `json:"type"`
	MountPath string            `json:"mount_path,omitempty"`
	Namespace string            `json:"namespace,omitempty"`
	Config    map[string]string `json:"config,omitempty"`
	ExitOnErr bool              `json:"exit_on_err,omitempty"`
}

type sink struct {
	Type   string            `json:"type"`
	Config map[string]string `json:"config,omitempty"`
}

type vaultConfig struct {
	Address       string `json:"address"`
	CACert        string `json:"ca_cert,omitempty"`
	TLSSkipVerify bool   `json:"tls_skip_verify,omitempty"`
	TLSServerName string `json:"tls_server_name,omitempty"`
}

type template struct {
	Destination    string `json:"destination"`
	Contents       string `json:"contents"`
	LeftDelimiter  string `json:"left_delimiter,omitempty"`
	RightDelimiter string `json:"right_delimiter,omitempty"`
}

type templateConfig struct {
	ExitOnRetryFailure bool `json:"exit_on_retry_failure"`
}

// config is the agent's configuration. The init container's agent ends once it has
// authenticated and rendered; the sidecar's stays.
func (s settings) config(exit bool) agentConfig {
	home := s.product.home()
	c := agentConfig{
		AutoAuth: autoAuth{
			Method: method{
				Type: s.authType, MountPath: s.authPath, Namespace: s.namespace,
				Config: s.authConfig, ExitOnErr: s.exitOnErr,
			},
			Sinks: []sink{{Type: "file", Config: map[string]string{"path": home + "/.vault-token"}}},
		},
		ExitAfterAuth: exit,
		PidFile:       home + "/.pid",
		Vault: vaultConfig{
			Address: s.address, CACert: s.caCert, TLSSkipVerify: s.tlsSkipVerify, TLSServerName: s.tlsServerName,
		},
		TemplateConfig: templateConfig{ExitOnRetryFailure: true},
	}
	for _, one := range s.secrets {
		contents := one.template
		if contents == "" {
			contents = fmt.Sprintf(`{{ with secret "%s" }}{{ range $k, $v := .Data }}{{ $k }}: {{ $v }}`+"\n{{ end }}{{ end }}", one.path)
		}
		c.Templates = append(c.Templates, template{
			Destination:    s.product.secretsVolume().MountPath + "/" + one.name,
			Contents:       contents,
			LeftDelimiter:  "{{",
			RightDelimiter: "}}",
		})
	}
	return c
}

// environment holds the configuration itself, or, where a config map brings it, only
// the address, which the config map may lack.
func (s settings) environment(exit bool) ([]corev1.EnvVar, error) {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	env := []corev1.EnvVar{
		field("NAMESPACE", "metadata.namespace"),
		field("HOST_IP", "status.hostIP"),
		field("POD_IP", "status.podIP"),
	}
	for _, v := range []corev1.EnvVar{
		{Name: s.product.env + "_LOG_LEVEL", Value: s.logLevel},
		{Name: s.product.env + "_LOG_FORMAT", Value: s.logFormat},
		{Name: "HTTPS_PROXY", Value: s.proxyAddress},
	} {
		if v.Value != "" {
			env = append(env, v)
		}
	}
	if s.configMap != "" {
		return append(env, corev1.EnvVar{Name: s.product.env + "_ADDR", Value: s.address}), nil
	}
	config, err := json.Marshal(s.config(exit))
	if err != nil {
		return nil, fmt.Errorf("encode agent configuration: %w", err)
	}
	return append(env, corev1.EnvVar{Name: s.product.env + "_CONFIG", Value: base64.StdEncoding.EncodeToString(config)}), nil
}

// initContainer is the agent that runs before the application.
func (s settings) initContainer() (json.RawMessage, error) {
	mounts := []corev1.VolumeMount{{Name: "home-init", MountPath: s.product.home()}, s.token}
	c, err := s.container(s.product.initName(), mounts, "config-init.hcl", true)
	if err != nil {
		return nil, err
	}
	return patched(c, s.product.annotation("agent-init-json-patch"), s.initJSONPatch)
}

// sidecar is the agent that runs beside the application.
func (s settings) sidecar() (json.RawMessage, error) {
	mounts := []corev1.VolumeMount{s.token, {Name: "home-sidecar", MountPath: s.product.home()}}
	c, err := s.container(s.product.sidecarName(), mounts, "config.hcl", false)
	if err != nil {
		return nil, err
	}
	c.Lifecycle = &corev1.Lifecycle{}
	return patched(c, s.product.annotation("agent-json-patch"), s.jsonPatch)
}

func (s settings) container(name string, mounts []corev1.VolumeMount, configKey string, exit bool) (*corev1.Container, error) {
	env, err := s.environment(exit)
	if err != nil {
		return nil, err
	}
	home, binary := s.product.home(), s.product.binary
	mounts = append(mounts, s.product.secretsVolume())
	command := fmt.Sprintf("echo ${%s_CONFIG?} | base64 -d > %s/config.json && %s agent -config=%s/config.json",
		s.product.env, home, binary, home)
	if s.configMap != "" {
		config := s.configMount()
		mounts = append(mounts, config)
		command = fmt.Sprintf("touch %s/.vault-token && %s agent -config=%s/%s", home, binary, config.MountPath, configKey)
	}
	c := &corev1.Container{
		Name:         name,
		Image:        s.image,
		Command:      []string{"/bin/sh", "-ec"},
		Args:         []string{command},
		Env:          env,
		VolumeMounts: mounts,
		Resources: corev1.ResourceRequirements{
			Limits:   resources("500m", "128Mi"),
			Requests: resources("250m", "64Mi"),
		},
	}
	if s.securityContext {
		c.SecurityContext = &corev1.SecurityContext{
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			RunAsUser:                new(s.user),
			RunAsGroup:               new(s.group),
			RunAsNonRoot:             new(s.user != 0 && s.group != 0),
			ReadOnlyRootFilesystem:   new(true),
			AllowPrivilegeEscalation: new(false),
		}
	}
	return c, nil
}

func (s settings) configMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: s.product.name + "-config", MountPath: "/" + s.product.name + "/configs", ReadOnly: true}
}

// volumes in the order in which the real one appends them.
func (s settings) volumes() []corev1.Volume {
	memory := func(name string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory},
		}}
	}
	var volumes []corev1.Volume
	if s.prePopulate {
		volumes = append(volumes, memory("home-init"))
	}
	if !s.prePopulateOnly {
		volumes = append(volumes, memory("home-sidecar"))
	}
	volumes = append(volumes, memory(s.product.secretsVolume().Name))
	if s.configMap != "" {
		volumes = append(volumes, corev1.Volume{Name: s.configMount().Name, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.configMap}},
		}})
	}
	return volumes
}

// patched is the container after the patch that a user put into an annotation. What
// comes out must still be a container, but may hold fields that we do not know.
func patched(c *corev1.Container, annotation, patch string) (json.RawMessage, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode container %q: %w", c.Name, err)
	}
	if patch == "" {
		return raw, nil
	}
	decoded, err := jsonpatch.DecodePatch([]byte(patch))
	if err != nil {
		return nil, fmt.Errorf("annotation %s: decode JSON patch: %w", annotation, err)
	}
	raw, err = decoded.Apply(raw)
	if err != nil {
		return nil, fmt.Errorf("annotation %s: apply JSON patch: %w", annotation, err)
	}
	if err := json.Unmarshal(raw, new(corev1.Container)); err != nil {
		return nil, fmt.Errorf("annotation %s: decode the container it made: %w", annotation, err)
	}
	return raw, nil
}

func resources(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	}
}

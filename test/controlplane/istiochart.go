package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// installIstioCRDs applies the CustomResourceDefinitions that istiod watches.
func (c *Cluster) installIstioCRDs(ctx context.Context) error {
	crds, err := c.runRender(ctx, "--crds")
	if err != nil {
		return err
	}
	return c.Apply(ctx, crds)
}

// renderIstio renders istiod's chart as helm install would.
func (c *Cluster) renderIstio(ctx context.Context, o IstioOptions, loopbackPort int) ([]*unstructured.Unstructured, error) {
	values, err := yaml.Marshal(o.values(loopbackPort))
	if err != nil {
		return nil, fmt.Errorf("encode chart values: %w", err)
	}
	valuesFile := filepath.Join(c.dir, o.name()+"-values.yaml")
	if err := os.WriteFile(valuesFile, values, 0o600); err != nil {
		return nil, fmt.Errorf("write chart values: %w", err)
	}
	version, err := c.client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("ask for the server's version: %w", err)
	}
	rendered, err := c.runRender(ctx, "--release", o.name(), "--namespace", IstioNamespace,
		"--values", valuesFile, "--kube-version", version.GitVersion)
	if err != nil {
		return nil, err
	}
	return Objects(rendered)
}

func (c *Cluster) runRender(ctx context.Context, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.binaries.Render, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("render a chart: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// values are those of the chart.
func (o IstioOptions) values(loopbackPort int) map[string]any {
	values := map[string]any{
		"revision": o.Revision,
		"pilot":    map[string]any{"cni": map[string]any{"enabled": o.CNI}},
	}
	if o.Native != "" {
		merge(values, map[string]any{"pilot": map[string]any{"env": map[string]any{"ENABLE_NATIVE_SIDECARS": o.Native}}})
	}
	if o.Reinvocation != "" {
		values["sidecarInjectorWebhook"] = map[string]any{"reinvocationPolicy": o.Reinvocation}
	}
	if o.MeshConfig != nil {
		merge(values, map[string]any{"meshConfig": o.MeshConfig})
	}
	if o.Host == nil && o.Node == nil {
		// The chart's Service leads nowhere then, so the webhook that validates Istio's own resources goes by URL as well.
		address := "https://127.0.0.1:" + strconv.Itoa(loopbackPort)
		values["istiodRemote"] = map[string]any{"injectionURL": address + "/inject"}
		values["base"] = map[string]any{"validationURL": address + "/validate"}
	}
	merge(values, o.Values)
	return values
}

// merge puts the values of from into into, map by map; from wins. The maps of from stay as they are.
func merge(into, from map[string]any) {
	for key, value := range from {
		nested, isMap := value.(map[string]any)
		if !isMap {
			into[key] = value
			continue
		}
		existing, isMap := into[key].(map[string]any)
		if isMap {
			existing = maps.Clone(existing)
		} else {
			existing = map[string]any{}
		}
		merge(existing, nested)
		into[key] = existing
	}
}

// discoveryContainer returns the arguments and the literal environment of pilot-discovery in the chart's Deployment.
func discoveryContainer(object *unstructured.Unstructured) (args, env []string, err error) {
	var deployment appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
		return nil, nil, fmt.Errorf("decode Deployment %s: %w", object.GetName(), err)
	}
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 {
		return nil, nil, errors.New("istiod's Deployment has not one container")
	}
	for _, variable := range containers[0].Env {
		if variable.ValueFrom == nil {
			env = append(env, variable.Name+"="+variable.Value)
		}
	}
	for _, arg := range containers[0].Args {
		if !strings.HasPrefix(arg, "--monitoringAddr") { // given anew
			args = append(args, arg)
		}
	}
	return args, env, nil
}

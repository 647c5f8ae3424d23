package controlplane

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	// modulePath is the module whose test/modules folder holds the nested modules.
	modulePath = "holdfast.dev/holdfast"
	// assetsVariable names a folder with etcd, kube-apiserver and kubectl, as setup-envtest makes it.
	assetsVariable = "KUBEBUILDER_ASSETS"
	// progressInterval is how often a long build says that it is alive.
	progressInterval = 30 * time.Second
)

// Binaries are the paths of the programs that make up a control plane.
type Binaries struct {
	Etcd              string
	APIServer         string
	ControllerManager string
	Kubectl           string
	PilotDiscovery    string
	PilotAgent        string
	// Render prints Istio's own charts, or one in a folder: test/modules/istio/cmd/render.
	Render string
}

// Build builds what has not been built yet and returns the paths. What it builds is kept in the user's cache folder, under the
// versions, the Go toolchain and a hash of the nested module. Several processes may call it at once: one builds, the others wait
// for it. KUBEBUILDER_ASSETS, when set, supplies etcd, kube-apiserver and kubectl. Progress lines go to log.
func Build(ctx context.Context, log io.Writer) (Binaries, error) {
	var b Binaries
	build, modules, err := newBuilder(ctx, log)
	if err != nil {
		return b, err
	}
	kubernetes := []program{
		{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", path: &b.ControllerManager},
	}
	supplied := []program{
		{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", path: &b.Etcd},
		{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", path: &b.APIServer},
		{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", path: &b.Kubectl},
	}
	if assets, ok := os.LookupEnv(assetsVariable); ok && assets != "" {
		for _, p := range supplied {
			if *p.path = filepath.Join(assets, p.name); !exists(*p.path) {
				return b, fmt.Errorf("%s=%s: there is no %s", assetsVariable, assets, p.name)
			}
		}
	} else {
		kubernetes = append(supplied, kubernetes...)
	}
	if err := build.module(ctx, filepath.Join(modules, "kubernetes"), "k8s.io/kubernetes", kubernetes); err != nil {
		return b, err
	}
	return b, build.module(ctx, filepath.Join(modules, "istio"), "istio.io/istio", []program{
		{name: "pilot-discovery", pkg: "istio.io/istio/pilot/cmd/pilot-discovery", path: &b.PilotDiscovery},
		{name: "pilot-agent", pkg: "istio.io/istio/pilot/cmd/pilot-agent", path: &b.PilotAgent},
		{name: "render", pkg: "./cmd/render", path: &b.Render},
	})
}

// moduleSource returns the folder of a module that the nested module in dir requires; it is downloaded where it is not there.
func moduleSource(ctx context.Context, dir, module string) (string, error) {
	out, err := goOutput(ctx, dir, "mod", "download", "-json", module)
	if err != nil {
		return "", err
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", fmt.Errorf("find the source of %s: %w", module, err)
	}
	return answer.Dir, nil
}

// program is one binary of a nested module; path is where its place is noted.
type program struct {
	name, pkg string
	path      *string
}

type builder struct {
	cache     string
	toolchain string
	log       io.Writer
}

// newBuilder returns it with the folder of the nested modules.
func newBuilder(ctx context.Context, log io.Writer) (b builder, modules string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return b, "", fmt.Errorf("find a place for built programs: %w", err)
	}
	if modules, err = modulesDir(ctx); err != nil {
		return b, "", err
	}
	b = builder{cache: filepath.Join(cache, "holdfast"), log: log}
	b.toolchain, err = goOutput(ctx, "", "env", "GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64")
	return b, modules, err
}

// module builds the programs of the nested module in dir, whose version is that of the module main.
func (b builder) module(ctx context.Context, dir, main string, programs []program) error {
	version, hash, err := b.identify(dir, main)
	if err != nil {
		return fmt.Errorf("read module %s: %w", dir, err)
	}
	target := filepath.Join(b.cache, fmt.Sprintf("%s-%s-%s", filepath.Base(dir), version, hash))
	missing := false
	for _, p := range programs {
		*p.path = filepath.Join(target, p.name)
		missing = missing || !exists(*p.path)
	}
	if !missing {
		return nil
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make cache folder: %w", err)
	}
	unlock, err := lock(ctx, target+".lock", func() {
		fmt.Fprintf(b.log, "waiting for another process that builds %s %s...\n", filepath.Base(dir), version)
	})
	if err != nil {
		return err
	}
	defer unlock()
	for _, p := range programs {
		if exists(*p.path) {
			continue
		}
		if err := b.program(ctx, dir, version, p); err != nil {
			return err
		}
	}
	return nil
}

// identify returns the version that the nested module in dir requires of main, and a hash of all that decides how its programs
// come out: the toolchain, the requirements and our own files.
func (b builder) identify(dir, main string) (version, hash string, err error) {
	requirements, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", "", err
	}
	match := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(main) + ` v(\S+)`).FindSubmatch(requirements)
	if match == nil {
		return "", "", fmt.Errorf("go.mod does not require %s", main)
	}
	version = string(match[1])

	sum := sha256.New()
	fmt.Fprintln(sum, b.toolchain, buildFlags(version))
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sum, "%s %d\n%s", relative, len(data), data)
		return err
	})
	return version, fmt.Sprintf("%x", sum.Sum(nil)[:6]), err
}

// program builds one program and puts it in its place when it is whole.
func (b builder) program(ctx context.Context, dir, version string, p program) error {
	fmt.Fprintf(b.log, "building %s %s (minutes the first time)...\n", p.name, version)
	began := time.Now()
	said := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(said)
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				fmt.Fprintf(b.log, "... %s\n", time.Since(began).Round(time.Second))
			}
		}
	}()
	unfinished := *p.path + ".unfinished"
	_, err := goOutput(ctx, dir, append(append([]string{"build"}, buildFlags(version)...), "-o", unfinished, p.pkg)...)
	cancel()
	<-said
	if err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	if err := os.Rename(unfinished, *p.path); err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	fmt.Fprintf(b.log, "built %s after %s\n", p.name, time.Since(began).Round(time.Second))
	return nil
}

// buildFlags are the same for every program, so that they share what is compiled. Those that have no such variables ignore the
// version that Kubernetes' programs report.
func buildFlags(version string) []string {
	parts := append(strings.SplitN(version, ".", 3), "", "")
	var variables []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		variables = append(variables,
			"-X "+pkg+".gitVersion=v"+version,
			"-X "+pkg+".gitMajor="+parts[0],
			"-X "+pkg+".gitMinor="+parts[1],
			"-X "+pkg+".gitTreeState=clean",
		)
	}
	return []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(variables, " ")}
}

// modulesDir finds test/modules, wherever below our own module this process was started.
func modulesDir(ctx context.Context) (string, error) {
	root, err := goOutput(ctx, "", "list", "-m", "-f", "{{.Dir}}", modulePath)
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w", modulePath, err)
	}
	return filepath.Join(root, "test", "modules"), nil
}

// goOutput runs the go command without cgo, so that the programs need no C compiler and no system libraries.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

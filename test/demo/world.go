package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/kernel"
	"holdfast.dev/holdfast/test/vaultinjector"
)

// cniRevision is the revision of the second istiod, which counts on the CNI plugin.
const cniRevision = "cni"

// world is what the scenes happen in.
type world struct {
	dir      string // logs, certificates, data
	root     string // of the repository
	binaries controlplane.Binaries
	binary   string // holdfast
	cluster  *controlplane.Cluster
	client   kubernetes.Interface
	cli      *kubectl
	byURL    bool        // there is no root: nothing can stand behind a Service
	rig      *kernel.Rig // nil where the machine cannot play pods
	unplayed error       // why
	holdfast *holdfast.Installation
	stops    []func()
}

// repository is the folder of our module: this file lies two levels below it.
func repository() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// build builds what is not there yet.
func (d *demo) build(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "holdfast-demo-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	d.root = repository()
	d.say("Building what is not in the cache yet: the first time this takes minutes.")
	if d.binaries, err = controlplane.Build(ctx, indented{d.out}); err != nil {
		return err
	}
	return d.step("holdfast", func() (err error) {
		d.binary, err = holdfast.Build(ctx, d.dir)
		return err
	})
}

// start starts everything but Holdfast.
func (d *demo) start(ctx context.Context) error {
	d.say("Starting. Logs are in " + d.dir)
	if reason := controlplane.Root(); reason != nil {
		d.byURL = true
		d.say("Webhooks are called by URL on loopback, not through their Services: " + reason.Error() + ".")
	}
	type step struct {
		name string
		run  func(context.Context) error
	}
	steps := []step{
		{"etcd, kube-apiserver, kube-controller-manager", d.startCluster},
		{"istiod, redirect by an init container (default)", d.startIstiod(controlplane.IstioOptions{Native: "false"})},
		{"istiod, redirect by the CNI plugin (revision cni)", d.startIstiod(controlplane.IstioOptions{Native: "false", CNI: true, Revision: cniRevision})},
		{"Vault agent injector: a stand-in, held to recordings of the real one", d.startVault},
	}
	if d.unplayed = kernel.Root(); d.unplayed == nil {
		steps = append(steps, step{"a network namespace in which pods are played", d.startRig})
	}
	for _, s := range steps {
		if err := d.step(s.name, func() error { return s.run(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startCluster(ctx context.Context) (err error) {
	if d.cluster, err = controlplane.Start(ctx, controlplane.Options{Binaries: d.binaries, Dir: d.dir}); err != nil {
		return err
	}
	if d.client, err = kubernetes.NewForConfig(d.cluster.Config()); err != nil {
		return err
	}
	d.cli = newKubectl(d.binaries.Kubectl, d.root, d.cluster.Kubeconfig(), d.dir)
	return nil
}

// host is a machine for one program; nil where webhooks are called by URL.
func (d *demo) host(ctx context.Context, name string) (*controlplane.Host, error) {
	if d.byURL {
		return nil, nil
	}
	h, err := controlplane.NewHost(ctx, name)
	if err != nil {
		return nil, err
	}
	d.stops = append(d.stops, func() { _ = h.Close() })
	return h, nil
}

// startIstiod leaves istiod to the cluster's end.
func (d *demo) startIstiod(o controlplane.IstioOptions) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		if o.Host, err = d.host(ctx, "istiod"+o.Revision); err != nil {
			return err
		}
		_, err = d.cluster.StartIstiod(ctx, o)
		return err
	}
}

// startVault serves the stand-in, behind the Service that its chart has, and registers it as the chart does.
func (d *demo) startVault(ctx context.Context) error {
	log, err := os.Create(filepath.Join(d.dir, "vault-agent-injector.log"))
	if err != nil {
		return err
	}
	d.stops = append(d.stops, func() { _ = log.Close() })
	injector := vaultinjector.Injector{Log: lines(log)}
	host, err := d.host(ctx, "vault")
	if err != nil {
		return err
	}
	life := context.WithoutCancel(ctx) // Close ends it, after the control plane
	registration := vaultinjector.Registration{}
	var server *vaultinjector.Server
	if host == nil {
		if server, err = injector.Start(life, nil, nil); err != nil {
			return err
		}
		registration.URL = server.URL
	} else {
		listener, err := host.Listen(ctx, "tcp", host.Addr().String()+":8080")
		if err != nil {
			return err
		}
		if server, err = injector.Start(life, listener, nil); err != nil {
			return err
		}
		registration.Endpoint = server.Endpoint
	}
	d.stops = append(d.stops, func() { _ = server.Close() })
	registration.CABundle = server.CABundle
	objects, err := injector.Objects(registration)
	if err != nil {
		return err
	}
	stream, err := vaultinjector.YAML(objects)
	if err != nil {
		return err
	}
	return d.cluster.Apply(ctx, stream)
}

// startRig makes what pods are played in.
func (d *demo) startRig(ctx context.Context) (err error) {
	if d.rig, err = kernel.New(ctx, d.binaries.PilotAgent); err != nil {
		return err
	}
	d.stops = append(d.stops, func() { _ = d.rig.Close() })
	return nil
}

// install installs Holdfast as shipped, for the namespaces that opt in.
func (d *demo) install(ctx context.Context) error {
	d.heading("Holdfast is installed", bold)
	d.say("What kubectl apply -k manifests/overlays/opt-in installs: Holdfast sees the namespaces that have the label holdfast.dev/mode.")
	d.line("")
	return d.step("Holdfast", func() error {
		o := holdfast.Options{Binary: d.binary, Overlay: "opt-in"}
		i, err := holdfast.Install(ctx, d.cluster, o)
		if err == nil {
			d.holdfast = i
		}
		return err
	})
}

// close ends everything that was started, and removes the files; where logs are wanted they stay, and their folder is returned.
func (d *demo) close(keepLogs bool) (logs string, err error) {
	var errs []error
	if d.holdfast != nil {
		if keepLogs {
			errs = append(errs, copyFile(filepath.Join(d.dir, "holdfast.log"), d.holdfast.LogPath()))
		}
		d.holdfast.Stop()
	}
	if d.cluster != nil {
		d.cluster.Stop() // before the hosts that parts of it run in
		logs = d.dir
	}
	for _, stop := range slices.Backward(d.stops) {
		stop()
	}
	if d.dir == "" {
		return "", errors.Join(errs...)
	}
	if !keepLogs || logs == "" {
		return "", errors.Join(append(errs, os.RemoveAll(d.dir))...)
	}
	entries, err := os.ReadDir(d.dir)
	errs = append(errs, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			errs = append(errs, os.RemoveAll(filepath.Join(d.dir, e.Name())))
		}
	}
	return logs, errors.Join(errs...)
}

// step runs one step of the preparations, and says what it is before and how long it took after.
func (d *demo) step(name string, run func() error) error {
	fmt.Fprintf(d.out, "    %-70s", name)
	began := time.Now()
	if err := run(); err != nil {
		d.line("")
		return err
	}
	d.line(d.styled(fmt.Sprintf("%6.1f s", time.Since(began).Seconds()), dim))
	return nil
}

// indented writes progress lines of others below ours.
type indented struct{ out io.Writer }

func (i indented) Write(data []byte) (int, error) {
	if _, err := io.WriteString(i.out, "    "+string(data)); err != nil {
		return 0, err
	}
	return len(data), nil
}

// lines logs to a file.
func lines(out io.Writer) logr.Logger {
	return funcr.New(func(prefix, args string) { fmt.Fprintln(out, strings.TrimSpace(prefix+" "+args)) }, funcr.Options{LogTimestamp: true})
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"holdfast.dev/holdfast/test/controlplane"
)

const (
	// apiPort is where kubelets serve: the node's machine is its own, so it is free.
	apiPort = 10250
	// streamTimeout bounds how long the streams of an exec may take to be opened, and how long they may be idle.
	streamTimeout = 30 * time.Second
	idleTimeout   = 10 * time.Minute
)

// serve serves the part of a kubelet's API that kubectl logs and kubectl exec need, to the API server alone.
func (k *Kubelet) serve(ctx context.Context) error {
	certificate, err := k.cluster.Certificate("system:node:"+k.name, k.machine.Addr().String())
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(k.cluster.Config().CAData)
	listener, err := k.machine.Listen(ctx, "tcp", fmt.Sprintf(":%d", apiPort))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.logs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.execute) // GET with WebSockets, POST with SPDY
	server := &http.Server{
		Handler: apiServerOnly(mux), ReadHeaderTimeout: streamTimeout, ErrorLog: log.New(k.log, "node "+k.name+": ", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
		// SPDY takes the connection over, which HTTP/2 does not allow.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	k.stops = append(k.stops, func() { _ = server.Close() })
	go func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			k.logf("serve: %v", err)
		}
	}()
	return nil
}

func apiServerOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who := r.TLS.PeerCertificates[0].Subject.CommonName; who != controlplane.APIServerUser {
			http.Error(w, "this is for the API server, not for "+who, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// logs answers with what a container wrote, in its present run or in the one before.
func (k *Kubelet) logs(w http.ResponseWriter, r *http.Request) {
	worker, ok := k.worker(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "there is no such pod on this node", http.StatusNotFound)
		return
	}
	if r.FormValue("follow") == "true" {
		http.Error(w, "this node does not follow logs", http.StatusNotImplemented)
		return
	}
	data, err := worker.wrote(r.FormValue("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if n, err := strconv.Atoi(r.FormValue("tailLines")); err == nil {
		data = tail(data, n)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(data)
}

// wrote is the log of the latest run, or of the one before that.
func (w *worker) wrote(previous bool) ([]byte, error) {
	restart := w.runs.Load() - 1
	if previous {
		restart--
	}
	if restart < 0 {
		return nil, fmt.Errorf("container %s of pod %s has not run yet, or not before", w.pod().Spec.Containers[0].Name, w.pod().Name)
	}
	return os.ReadFile(w.log(restart))
}

// tail is the last n lines.
func tail(data []byte, n int) []byte {
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return bytes.Join(lines[max(0, len(lines)-max(0, n)):], nil)
}

// execute runs a command in a pod's root and network, with the streams that the client asks for.
func (k *Kubelet) execute(w http.ResponseWriter, r *http.Request) {
	worker, ok := k.worker(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "there is no such pod on this node", http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{worker}, r.PathValue("pod"), string(worker.pod().UID), r.PathValue("container"),
		r.Form["command"], options, idleTimeout, streamTimeout, remotecommand.SupportedStreamingProtocols)
}

type executor struct{ worker *worker }

// ExecInContainer runs the command. There are no terminals here: with -t the streams are what they are without.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, line []string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	host := e.worker.machine.Load()
	if host == nil || len(line) == 0 || e.worker.runs.Load() == 0 {
		return errors.New("the container does not run")
	}
	// It ends with the pod, and with the client.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.worker.ctx, cancel)()
	cmd, err := e.worker.command(ctx, e.worker.pod(), line)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = out, errs
	if in != nil {
		// Wait would wait for the end of Stdin, which a client keeps open.
		pipe, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(pipe, in)
			_ = pipe.Close()
		}()
	}
	err = host.Do(cmd.Run)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

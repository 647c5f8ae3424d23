package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"holdfast.dev/holdfast/test/controlplane"
)

// life is one run of a container, from its start to its end.
type life struct {
	process        *controlplane.Process
	began          time.Time
	started, ready atomic.Bool
	turned         func() // is called when one of them has changed
}

func newLife(p *controlplane.Process, turned func()) *life {
	return &life{process: p, began: time.Now(), turned: turned}
}

// terminated says how it ended; log is what the container wrote.
func (l *life) terminated(c *corev1.Container, id, log string) corev1.ContainerState {
	code, reason := l.process.ExitCode(), "Completed"
	if code != 0 {
		reason = "Error"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, ContainerID: id, Message: lastWords(c, int32(code), log),
		StartedAt: metav1.NewTime(l.began), FinishedAt: metav1.Now(),
	}}
}

// watch probes until the process ends: the startup probe first, then liveness and readiness beside each other. What has no probe
// counts as well.
func (l *life) watch(ctx context.Context, c *corev1.Container, address string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	set := func(to *atomic.Bool, value bool) {
		if to.Swap(value) != value {
			l.turned()
		}
	}
	go func() {
		if c.StartupProbe != nil {
			starting, begun := context.WithCancel(ctx)
			defer begun()
			ok := false
			l.probe(starting, c, c.StartupProbe, address, func(success bool) {
				ok = success
				begun()
			})
			if ctx.Err() != nil {
				return
			}
			if !ok {
				l.process.Stop(defaultGrace)
				return
			}
		}
		set(&l.started, true)
		if c.LivenessProbe != nil {
			go l.probe(ctx, c, c.LivenessProbe, address, func(success bool) {
				if !success {
					go l.process.Stop(defaultGrace)
				}
			})
		}
		if c.ReadinessProbe == nil {
			set(&l.ready, true)
			return
		}
		l.probe(ctx, c, c.ReadinessProbe, address, func(success bool) { set(&l.ready, success) })
	}()
	select {
	case <-l.process.Done():
		l.turned()
	case <-ctx.Done():
	}
}

// probe asks, period by period, and tells each time that a threshold has been reached.
func (l *life) probe(ctx context.Context, c *corev1.Container, p *corev1.Probe, address string, tell func(success bool)) {
	timer := time.NewTimer(seconds(p.InitialDelaySeconds))
	defer timer.Stop()
	var successes, failures int32
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := ask(ctx, c, p, address); err == nil {
			successes, failures = successes+1, 0
		} else {
			successes, failures = 0, failures+1
		}
		switch {
		case ctx.Err() != nil:
			return
		case successes >= p.SuccessThreshold && failures == 0:
			tell(true)
		case failures >= p.FailureThreshold:
			tell(false)
		}
		timer.Reset(seconds(p.PeriodSeconds))
	}
}

// ask does what the probe says, from this machine.
func ask(ctx context.Context, c *corev1.Container, p *corev1.Probe, address string) error {
	get := p.HTTPGet
	if get == nil {
		return fmt.Errorf("container %s has a probe that is not httpGet", c.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, seconds(p.TimeoutSeconds))
	defer cancel()
	url := strings.ToLower(string(get.Scheme)) + "://" + net.JoinHostPort(address, strconv.Itoa(int(port(c, get.Port)))) + "/" + strings.TrimPrefix(get.Path, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	for _, h := range get.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
	}
	// Kubelets do not verify either.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 10<<10))
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// port is a number, or the name of one of the container's.
func port(c *corev1.Container, p intstr.IntOrString) int32 {
	for _, named := range c.Ports {
		if p.Type == intstr.String && named.Name == p.StrVal {
			return named.ContainerPort
		}
	}
	return p.IntVal
}

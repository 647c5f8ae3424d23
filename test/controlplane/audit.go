package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const auditLogName = "audit.log"

// AuditEvent is what the API server recorded about one request that created, changed or deleted a pod or a workload. The fields
// are those of audit.k8s.io/v1 Event that say who asked for what, and what admission answered.
type AuditEvent struct {
	AuditID    string `json:"auditID"`
	Stage      string `json:"stage"`
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	UserAgent  string `json:"userAgent"`
	User       struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"user"`
	ObjectRef struct {
		APIGroup    string `json:"apiGroup"`
		APIVersion  string `json:"apiVersion"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		UID         string `json:"uid"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code    int    `json:"code"`
		Status  string `json:"status"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"responseStatus"`
	// Annotations of the request: those of admission webhooks are named <webhook>/<key>.
	Annotations map[string]string `json:"annotations"`
}

// AuditQuery selects audit events; an empty field selects all. ID is the value of the request's Audit-ID header. A request with
// generateName has no Name.
type AuditQuery struct {
	ID, Verb, Resource, Namespace, Name string
}

func (q AuditQuery) matches(e *AuditEvent) bool {
	for _, field := range [][2]string{
		{q.ID, e.AuditID},
		{q.Verb, e.Verb},
		{q.Resource, e.ObjectRef.Resource},
		{q.Namespace, e.ObjectRef.Namespace},
		{q.Name, e.ObjectRef.Name},
	} {
		if want, got := field[0], field[1]; want != "" && want != got {
			return false
		}
	}
	return true
}

// AuditEvents reads the events that q selects, oldest first. An event is written about when its answer is sent, so the newest
// may be missing yet; see WaitAuditEvent.
func (c *Cluster) AuditEvents(q AuditQuery) ([]AuditEvent, error) {
	f, err := os.Open(filepath.Join(c.dir, auditLogName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // nothing has been recorded
	}
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	defer f.Close()

	var events []AuditEvent
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, nil // a line without its end is being written
		}
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		var event AuditEvent
		if err := json.Unmarshal(bytes.TrimSpace(line), &event); err != nil {
			return nil, fmt.Errorf("decode audit log: %w", err)
		}
		if q.matches(&event) {
			events = append(events, event)
		}
	}
}

// WaitAuditEvent waits for an event that q selects and returns the newest one.
func (c *Cluster) WaitAuditEvent(ctx context.Context, q AuditQuery) (AuditEvent, error) {
	var newest AuditEvent
	err := WaitFor(ctx, "an audit event", c.processes, func(context.Context) error {
		events, err := c.AuditEvents(q)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return fmt.Errorf("none for %+v", q)
		}
		newest = events[len(events)-1]
		return nil
	})
	return newest, err
}

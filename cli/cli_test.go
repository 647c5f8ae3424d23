package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"certs": writeCerts, "ports": freePorts, "await": await, "replace": replace,
		},
	})
}

// writeCerts writes tls.crt and tls.key into a directory: certs DIR.
func writeCerts(s *testscript.TestScript, _ bool, args []string) {
	dir := s.MkAbs(args[0])
	s.Check(os.MkdirAll(dir, 0o700))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	s.Check(err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	s.Check(err)
	s.Check(os.WriteFile(filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	s.Check(os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
}

// replace puts the values of variables into a file: replace FILE NAME...
func replace(s *testscript.TestScript, _ bool, args []string) {
	text := s.ReadFile(args[0])
	for _, name := range args[1:] {
		text = strings.ReplaceAll(text, "$"+name, s.Getenv(name))
	}
	s.Check(os.WriteFile(s.MkAbs(args[0]), []byte(text), 0o600))
}

// freePorts sets variables to ports that were free a moment ago: ports NAME...
func freePorts(s *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		s.Check(err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		s.Check(err)
		s.Setenv(name, port)
	}
}

// await waits until a URL answers with the text, and prints the answer to stdout: await URL [TEXT].
func await(s *testscript.TestScript, neg bool, args []string) {
	text := strings.Join(args[1:], " ")
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // self-signed
	}}
	var last error
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		body, err := fetch(&client, args[0])
		if err == nil && strings.Contains(body, text) != neg {
			_, err = io.WriteString(s.Stdout(), body)
			s.Check(err)
			return
		}
		last = errors.Join(err, fmt.Errorf("last answer %q", body))
		select {
		case <-again.C:
		case <-deadline.C:
			s.Fatalf("%s: %v", args[0], last)
		}
	}
}

func fetch(client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, body), errors.Join(err, res.Body.Close())
}

// Command server is what the pods of the tests run. It serves, and its other commands are for kubectl exec.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	var err error
	switch arguments := os.Args[2:]; os.Args[1] {
	case "serve":
		err = serve(arguments)
	case "version":
		err = version()
	case "fetch":
		err = fetch(http.DefaultClient, arguments[0], "")
	case "cat":
		_, err = io.Copy(os.Stdout, os.Stdin)
	case "exit":
		code, _ := strconv.Atoi(arguments[0])
		fmt.Fprintln(os.Stderr, "exit", code)
		os.Exit(code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve serves the file that it is given: it is ready while the file does not say "unready", and alive while
// it does not say "dead", and crashes when told to.
func serve(arguments []string) error {
	fmt.Printf("serving: %s, uid %d\n", strings.Join(arguments, " "), os.Getuid())
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) {
		data, err := os.ReadFile(arguments[0])
		if err != nil || string(data) == "unready" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(data)
	})
	mux.HandleFunc("/alive", func(w http.ResponseWriter, _ *http.Request) {
		if data, err := os.ReadFile(arguments[0]); err == nil && string(data) == "dead" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Println("crashing")
		os.Exit(3)
	})
	go func() {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		<-ctx.Done()
		fmt.Println("told to end")
		os.Exit(0)
	}()
	return http.ListenAndServe(":8080", mux)
}

// version asks the API server for its version, as a program in a pod does.
func version() error {
	const dir = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(dir + "token")
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(dir + "ca.crt")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	address := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	return fetch(client, "https://"+address+"/apis/authentication.k8s.io/v1", string(token))
}

func fetch(client *http.Client, url, token string) error {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

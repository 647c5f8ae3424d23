package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// apiServerServerName is a name in the API server's certificate that does not depend on the address it is reached at.
const apiServerServerName = "kubernetes"

const (
	// APIServerUser is the user that the API server's client certificate names: by it kubelets and etcd know it.
	APIServerUser = "kube-apiserver"
	// apiServerClusterIP is that of Service kubernetes: the first address of the range.
	apiServerClusterIP = "10.96.0.1"
	// APIServerInside is where ServeInside serves.
	APIServerInside = apiServerClusterIP + ":443"
)

// tokenLifetime of ServiceAccount tokens is long enough for a demo that someone keeps for a day.
const tokenLifetime = 24 * 60 * 60

// Config is a copy of the cluster administrator's configuration, without client-side rate limits.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.admin) }

// Kubeconfig is the file with the same configuration.
func (c *Cluster) Kubeconfig() string { return c.kubeconfigPath("admin") }

// ConfigFor is the configuration of a user in groups, by client certificate. What the user may do is up to RBAC.
func (c *Cluster) ConfigFor(user string, groups ...string) (*rest.Config, error) {
	pair, err := c.authority.issue(user, groups)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(c.admin)
	config.CertData, config.KeyData = pair.cert, pair.key
	return config, nil
}

// Certificate is one for a server at these addresses or names, by the authority that the API server trusts.
func (c *Cluster) Certificate(user string, hosts ...string) (tls.Certificate, error) {
	pair, err := c.authority.issue(user, nil, hosts...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(pair.cert, pair.key)
}

// ServiceAccountConfig is the configuration of a ServiceAccount that exists, by a token bound to it.
func (c *Cluster) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	lifetime := int64(tokenLifetime)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	token, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("request a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.admin)
	config.BearerToken = token.Status.Token
	return config, nil
}

// WriteKubeconfig writes a configuration of this cluster to <name>.kubeconfig in Dir and returns the path. With a host, the
// address in it is one that reaches the API server from inside that host.
func (c *Cluster) WriteKubeconfig(name string, config *rest.Config, host *Host) (string, error) {
	server, serverName := config.Host, config.ServerName
	if host != nil {
		address, err := c.forward(host)
		if err != nil {
			return "", err
		}
		server, serverName = "https://"+address, apiServerServerName
	}
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["holdfast"] = &clientcmdapi.Cluster{
		Server: server, TLSServerName: serverName, CertificateAuthorityData: config.CAData,
	}
	kubeconfig.AuthInfos["holdfast"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
	}
	kubeconfig.Contexts["holdfast"] = &clientcmdapi.Context{Cluster: "holdfast", AuthInfo: "holdfast"}
	kubeconfig.CurrentContext = "holdfast"
	path := c.kubeconfigPath(name)
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}

func (c *Cluster) kubeconfigPath(name string) string { return filepath.Join(c.dir, name+".kubeconfig") }

// forward returns an address on the root side of the host's link that leads to the API server, which itself listens on
// loopback alone. It works until Stop.
func (c *Cluster) forward(host *Host) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if listener, ok := c.forwarders[host]; ok {
		return listener.Addr().String(), nil
	}
	apiServer, err := url.Parse(c.admin.Host)
	if err != nil {
		return "", err
	}
	//nolint:noctx // listening does not block
	listener, err := net.Listen("tcp", net.JoinHostPort(host.Gateway().String(), "0"))
	if err != nil {
		return "", fmt.Errorf("listen for host %s: %w", host.Name(), err)
	}
	c.forwarders[host] = listener
	go serveForward(listener, apiServer.Host)
	return listener.Addr().String(), nil
}

// ServeInside makes the API server reachable inside a host at the address of Service kubernetes, which is what programs in pods
// are told. Close what is returned before the host.
func (c *Cluster) ServeInside(ctx context.Context, host *Host) (_ io.Closer, err error) {
	apiServer, err := url.Parse(c.admin.Host)
	if err != nil {
		return nil, err
	}
	if err := ip(ctx, "-n", host.netns, "address", "add", apiServerClusterIP+"/32", "dev", "lo"); err != nil {
		return nil, fmt.Errorf("serve the API server inside host %s: %w", host.Name(), err)
	}
	listener, err := host.Listen(ctx, "tcp", APIServerInside)
	if err != nil {
		return nil, fmt.Errorf("serve the API server inside host %s: %w", host.Name(), err)
	}
	go serveForward(listener, apiServer.Host)
	return listener, nil
}

// serveForward connects every connection to target, until the listener is closed.
func serveForward(listener net.Listener, target string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			//nolint:noctx // loopback: it connects or is refused at once
			to, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer to.Close()
			var half sync.WaitGroup
			for _, pipe := range [][2]net.Conn{{from, to}, {to, from}} {
				half.Go(func() {
					_, _ = io.Copy(pipe[0], pipe[1])
					_ = pipe[0].Close()
					_ = pipe[1].Close()
				})
			}
			half.Wait()
		}()
	}
}

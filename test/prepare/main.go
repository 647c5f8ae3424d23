// Command prepare sees to what the tests need of the system and Go modules cannot bring:
//
//	cc        a C compiler with headers, for the race detector
//	ip        iproute2, which makes the network namespaces
//	iptables  which the redirect of a mesh is made of
//	nft       nftables, which the firewalls of the diagnosis' tests are made of
//
// Names given as arguments are looked for. What is missing is installed where that is possible without asking (root, with
// apt-get at hand); otherwise the command says what is missing and which line installs it, and fails. Without root the
// tests that need ip, iptables and nft do not run, so they are not asked for.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

func main() {
	if err := prepare(context.Background(), os.Stderr, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// need is one thing that the system must have.
type need struct {
	name     string
	root     bool // of use to root alone
	why      string
	missing  func(ctx context.Context) bool
	packages map[string]string // by package manager
}

func needs() []need {
	return []need{
		{
			name: "cc", why: "a C compiler with headers, for the race detector", missing: noCompiler,
			packages: map[string]string{"apt-get": "gcc libc6-dev", "dnf": "gcc glibc-devel", "apk": "gcc musl-dev"},
		},
		{
			name: "ip", root: true, why: "ip, for network namespaces", missing: noProgram("ip"),
			packages: map[string]string{"apt-get": "iproute2", "dnf": "iproute", "apk": "iproute2"},
		},
		{
			name: "iptables", root: true, why: "iptables, which redirects traffic as a mesh does", missing: noProgram("iptables"),
			packages: map[string]string{"apt-get": "iptables", "dnf": "iptables-nft", "apk": "iptables"},
		},
		{
			name: "nft", root: true, why: "nft, for firewalls between the API server and a webhook", missing: noProgram("nft"),
			packages: map[string]string{"apt-get": "nftables", "dnf": "nftables", "apk": "nftables"},
		},
	}
}

func prepare(ctx context.Context, log io.Writer, names []string) error {
	wanted, err := choose(names)
	if err != nil {
		return err
	}
	missing := find(ctx, wanted)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return errors.New(explain(missing))
	}
	if err := aptInstall(ctx, log, packages(missing, "apt-get")); err != nil {
		return fmt.Errorf("%s\n%w", explain(missing), err)
	}
	if missing = find(ctx, wanted); len(missing) > 0 {
		return errors.New("installed, and still " + explain(missing))
	}
	return nil
}

// choose returns the needs with these names, without those that are of no use here.
func choose(names []string) ([]need, error) {
	var chosen []need
	for _, name := range names {
		known := false
		for _, n := range needs() {
			if n.name != name {
				continue
			}
			known = true
			if !n.root || runtime.GOOS == "linux" && os.Geteuid() == 0 {
				chosen = append(chosen, n)
			}
		}
		if !known {
			return nil, fmt.Errorf("%q: not something that can be prepared", name)
		}
	}
	return chosen, nil
}

func find(ctx context.Context, wanted []need) []need {
	var missing []need
	for _, n := range wanted {
		if n.missing(ctx) {
			missing = append(missing, n)
		}
	}
	return missing
}

// explain names what is missing, and the line to run, for each package manager unless the one that is here is known.
func explain(missing []need) string {
	var b strings.Builder
	b.WriteString("missing:\n")
	for _, n := range missing {
		fmt.Fprintf(&b, "  %s\n", n.why)
	}
	b.WriteString("run (with sudo unless you are root):\n")
	lines := []struct{ manager, command string }{
		{"apt-get", "apt-get install -y"},
		{"dnf", "dnf install -y"},
		{"apk", "apk add"},
	}
	for _, here := range []bool{true, false} {
		for _, l := range lines {
			if _, err := exec.LookPath(l.manager); !here || err == nil {
				fmt.Fprintf(&b, "  %s %s\n", l.command, strings.Join(packages(missing, l.manager), " "))
				if here {
					return b.String()
				}
			}
		}
	}
	return b.String()
}

func packages(missing []need, manager string) []string {
	var names []string
	for _, n := range missing {
		names = append(names, strings.Fields(n.packages[manager])...)
	}
	return names
}

// aptInstall reads the package lists anew only where the packages cannot be installed without.
func aptInstall(ctx context.Context, log io.Writer, packages []string) error {
	fmt.Fprintf(log, "installing %s...\n", strings.Join(packages, " "))
	arguments := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if aptGet(ctx, arguments...) == nil {
		return nil
	}
	if err := aptGet(ctx, "update"); err != nil {
		return err
	}
	return aptGet(ctx, arguments...)
}

func aptGet(ctx context.Context, arguments ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q"}, arguments...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return nil
}

// noCompiler tries the compiler that the go command would use: one without the C library's headers is no use.
func noCompiler(ctx context.Context) bool {
	name, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return true
	}
	command := strings.Fields(string(name))
	if len(command) == 0 {
		return true
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], "-fsyntax-only", "-x", "c", "-")...)
	cmd.Stdin = strings.NewReader("#include <stdlib.h>\n#include <pthread.h>\n")
	return cmd.Run() != nil
}

func noProgram(name string) func(context.Context) bool {
	return func(context.Context) bool {
		_, err := exec.LookPath(name)
		return err != nil
	}
}

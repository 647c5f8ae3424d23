package injectors

// kumaInjects does what the webhook does (pkg/plugins/runtime/k8s/webhooks/injector/injector.go, InjectKuma):
//
//	native    kuma-init or kuma-validation first, kuma-sidecar behind it, then everything else
//	classic   the same two last, or first where the pod asks for it; kuma-sidecar the first container
//
// A gateway has nothing redirected to it, and nothing to validate under CNI.
func kumaInjects(p *Plan, i *Injector, s *Settings) {
	if p.Mesh(i) != nil {
		return
	}
	t := p.Target
	uid := int64(kumaUID)
	if s.ProxyUID != 0 {
		uid = s.ProxyUID
	}
	m := Mesh{Injector: i, CNI: s.CNI, Native: s.Native, Hold: No, ProxyUID: uid, ProxyGID: NoID}
	if m.Native == No {
		m.Hold = kumaSays(t.Annotation(kumaWait)).Or(s.Hold)
	}
	proxy := Step{Name: kumaSidecar, Phase: Main, Role: Proxy, Injector: i, UID: uid, GID: uid, Gated: m.Hold == Yes}
	first := Step{Name: "kuma-init", Role: Installer, Injector: i}
	if m.CNI == Yes {
		first.Name, first.Role, first.UID, first.GID = "kuma-validation", Validator, uid, uid
	}
	if m.Native == Yes {
		proxy.Phase, proxy.Gated = Native, true // its startup probe
	}
	p.Add(proxy, true)
	gateway := kumaSays(t.Annotation(kumaGateway)) == Yes
	if m.CNI != Yes || !gateway {
		p.Add(first, m.Native == Yes || kumaSays(t.Annotation(kumaInitFirst)) == Yes)
	}
	kumaPredicts(p, &m, s, gateway)
	p.set(m)
}

// kumaPredicts sets what the redirect will take: the pod's annotations over the mesh's lists, each of which replaces the other;
// an empty one does so in release 2 alone. There the node plugin reads the annotations itself (app/cni/pkg/cni/main_linux.go).
func kumaPredicts(p *Plan, m *Mesh, s *Settings, gateway bool) {
	t := p.Target
	var k kumaConfig
	out, in := &k.Redirect.Outbound, &k.Redirect.Inbound
	out.ExcludePorts = kumaList(kumaOr(t, s, kumaExcludePorts, s.ExcludePorts))
	out.ExcludeIPs = kumaList(kumaOr(t, s, kumaExcludeIPs, s.ExcludeCIDRs))
	out.ExcludeUsers = kumaEntries(kumaOr(t, s, kumaExcludeUsers, s.ExcludeUIDs))
	out.IncludePorts, in.IncludePorts = kumaList(s.IncludePorts), kumaList(s.IncludeInbound)
	in.ExcludePorts = kumaList(kumaOr(t, s, kumaExcludeInbound, s.ExcludeInbound))
	if gateway {
		in.Enabled = new(false)
	}
	if s.Off == Yes {
		out.Enabled = new(false)
	}
	k.Family = kumaOr(t, s, kumaFamily, s.Metadata[kumaFamily])
	dns := s.DNS
	if s.Metadata[kumaRelease2] != "" {
		m.Late = m.CNI == Yes
		dns = kumaSays(t.Annotation(kumaDNS)).Or(dns)
	}
	k.Redirect.DNS.Enabled = dns != No
	k.capture(&m.Capture)
	m.Capture.UIDs = []int64{m.ProxyUID}

	if dns == Unknown {
		p.Doubt("whether Kuma captures DNS is not known")
	}
	if t.Annotation(kumaOwnConfigMap) != "" {
		p.Doubt("the ConfigMap " + t.Annotation(kumaOwnConfigMap) + ", which the pod has Kuma read, is not known")
	}
	if t.Annotation(kumaPatches) != "" || len(s.Templates) > 0 {
		p.Doubt("what Kuma's container patches change is not known")
	}
	if kumaSays(t.Annotation(kumaEBPF)) == Yes || s.Metadata[kumaEBPF] != "" {
		p.Doubt("what Kuma redirects by eBPF is not known")
	}
}

// kumaOr returns the pod's annotation, or the mesh's value where that is absent or empty.
func kumaOr(t *Target, s *Settings, key, otherwise string) string {
	if v, ok := t.Meta.Annotations[key]; v != "" || ok && s.Metadata[kumaRelease2] != "" {
		return v
	}
	return otherwise
}

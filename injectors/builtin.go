package injectors

// Builtin returns the injectors that Holdfast knows by itself, in the order of the documentation: meshes, then agents. One
// that is not listed is a function that nobody uses.
func Builtin() []*Injector {
	return []*Injector{
		Istio(),
		Linkerd(),
		OSM(),
		Consul(),
		Kuma(),
		AppMesh(),
		TrafficDirector(),
		Vault(),
		OpenBao(),
		BankVaults(),
		Conjur(),
		Infisical(),
		Akeyless(),
		AKV2K8s(),
		OnePassword(),
		Dapr(),
		OpenTelemetry(),
		AzureWorkloadIdentity(),
		EKS(),
		CloudSQL(),
		Datadog(),
		Instana(),
	}
}

#!/bin/sh
# Prepares Vault for the service. Run it once, with VAULT_ADDR and VAULT_TOKEN of an operator.
set -eu
vault policy write shop policy.hcl

# Vault asks the cluster whether a token is good. In the cluster, it needs no more than this:
vault auth enable kubernetes || true # it may be enabled already
vault write auth/kubernetes/config kubernetes_host=https://kubernetes.default.svc

# The service account shop of the namespace default gets the policy shop.
vault write auth/kubernetes/role/shop \
	bound_service_account_names=shop \
	bound_service_account_namespaces=default \
	token_policies=shop \
	token_ttl=1h

vault kv put secret/shop/database user=shop password=change-me
vault kv put secret/shop/api token=change-me

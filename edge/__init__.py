"""The policy edge: a policy compiled into nginx.

archive ──edge_policy──▶ EdgePolicy ──c_source──▶ policy.h + native/*.h ──compiler──▶ harness, module of nginx
harness and the archive's own handler ──verify──▶ NginxModule ──nginx_server──▶ nginx.conf ──stack──▶ running
last step of a rollout or rollback ──`python -m edge follow`──▶ the same version here, by a reload of nginx
"""

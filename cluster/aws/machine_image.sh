#!/bin/sh
# User data of a machine that becomes the image of the others (cluster/README.md): installs what Ray's launcher and
# cluster.yaml call on the machine itself, before any container runs, and stops the machine. Made for Amazon Linux 2023.
set -eux
dnf install -y rsync # the launcher copies files with it, before anything else
command -v docker || dnf install -y docker
command -v aws || dnf install -y awscli-2 # initialization_commands log in to the image registry
systemctl enable docker
usermod -aG docker ec2-user
for tool in rsync docker aws; do command -v "$tool"; done
shutdown -h now
